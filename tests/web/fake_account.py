"""A clinic that only answers, for the pages of one's account and of an invitation; see `fake_clinic`."""

from collections.abc import Mapping
from typing import Any, Final

from tests.web.fake_clinic import PERSON, FakeClinic, care, soon

EMAIL: Final = "omar@example.org"
HERE: Final = "0190d0c0-0000-7000-8000-0000000000f1"
THERE: Final = "0190d0c0-0000-7000-8000-0000000000f2"
PASSKEY: Final = "0190d0c0-0000-7000-8000-0000000000f3"
SECRET: Final = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
RECOVERY: Final = [f"k{index}fd-2m{index}p-x7qa" for index in range(10)]


class FakeAccount(FakeClinic):
    """``me``: the account of whoever is signed in. ``factor_due``: a role of theirs waits for a second factor."""

    def __init__(self) -> None:
        super().__init__()
        self.roles = ["patient"]
        self.factor_due = False
        self.me: dict[str, Any] = {
            "id": PERSON,
            "name": "Omar Farooq",
            "anonymous": False,
            "roles": ["patient"],
            "amr": ["email"],
            "contacts": [{"id": HERE, "kind": "email", "value": EMAIL}, {"id": THERE, "kind": "oidc", "value": ""}],
            "has_password": True,
            "has_totp": False,
        }
        self.invitation = {
            "state": "open",
            "clinic": "Al-Shifa Clinic",
            "email": EMAIL,
            "role": "doctor",
            "expires_at": soon(600),
        }
        session = {"created_at": soon(-5000), "seen_at": soon(-300)}
        self.sessions = [
            {"id": HERE, "device": "Firefox on Linux", "current": True, **session},
            {"id": THERE, "device": "", "current": False, **session},
        ]
        self.caregivers = [care(1, relation="sibling", rights=["book", "join"])]
        self.passkeys = [{"id": PASSKEY, "label": "My phone", "created_at": soon(-9000), "used_at": None}]

    def _answer_to(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        match method, path.removeprefix("/v1/").split("/"):
            case "POST", ["invites", "look"]:
                return self.invitation
            case "POST", ["invites", "accept"]:
                self.roles = ["doctor", "patient"]
                return {"role": self.invitation["role"]}
            case "GET", ["me"]:
                return self.me
            case "PATCH", ["me"]:
                self.me = {**self.me, **body}
                return self.me
            case "GET", ["me", "sessions"]:
                return self.sessions
            case "GET", ["me", "passkeys"]:
                return self.passkeys
            case "POST", ["me", "dependants"]:
                self.dependants.append(care(**body))
                return self.dependants[-1]
            case "GET", ["me", "caregivers"]:
                return self.caregivers
            case "POST", ["me", "caregivers"]:
                return {"id": HERE}
            case "DELETE", ["me", "dependants", gone]:
                self.dependants = [each for each in self.dependants if each["id"] != gone]
                self.caregivers = [each for each in self.caregivers if each["id"] != gone]
                return None
            case "DELETE", ["me", "sessions", gone]:
                self.sessions = [each for each in self.sessions if each["id"] != gone]
                return None
            case "DELETE", ["me", "passkeys", gone]:
                self.passkeys = [each for each in self.passkeys if each["id"] != gone]
                return None
            case "POST", ["auth", "mfa", "totp"]:
                label = f"Al-Shifa%20Clinic:{EMAIL}?secret={SECRET}&issuer=Al-Shifa%20Clinic"
                return {"secret": SECRET, "uri": f"otpauth://totp/{label}"}
            case "POST", ["auth", "mfa", "totp", "confirm"]:
                self.me["has_totp"] = True
                self.factor_due = False
                return {"recovery_codes": RECOVERY, "access_token": "token", "expires_in": 600}
            case "POST", ["auth", "mfa", "recovery-codes"]:
                return {"recovery_codes": RECOVERY[::-1]}
            case "POST", ["auth", "mfa", "totp", "remove"]:
                self.me["has_totp"] = False
                return None
            case "POST", ["auth", "logout-all"]:
                return None
        answer = super()._answer_to(method, path, query, body)
        if isinstance(answer, dict) and answer.get("state") == "signed_in":
            return {**answer, "second_factor_due": self.factor_due}
        return answer
