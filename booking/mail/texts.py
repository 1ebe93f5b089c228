"""The words of every mail, in every language. A subject names nobody and no reason: it is shown on locked screens.

{clinic}, {provider} and the like are filled in by `letters`, isolated, so that a Latin name keeps its place in a
sentence that runs from the right. A language is complete or not there: a test holds every one against English.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

FALLBACK: Final = "en"
RIGHT_TO_LEFT: Final = frozenset({"ar", "ur"})


class Words(Struct, frozen=True):
    """One kind of mail in one language."""

    subject: str
    heading: str
    body: str


class Labels(Struct, frozen=True, kw_only=True):
    """What stands beside facts, the same in every mail. ``summary``: the name of the calendar entry."""

    when: str
    provider: str
    service: str
    place: str
    cancelling: str
    join: str
    open: str
    manage: str
    link_note: str
    footer: str
    summary: str


LABELS: Final[Mapping[str, Labels]] = {
    "en": Labels(
        when="When",
        provider="With",
        service="Visit",
        place="Where",
        cancelling="If you cancel",
        join="Join the visit",
        open="Open",
        manage="Change or cancel",
        link_note="The link is yours alone and opens 30 minutes before the visit. Please do not pass it on.",
        footer="This mail was sent by {clinic}. Nobody reads replies to it.",
        summary="Appointment",
    ),
    "ur": Labels(
        when="وقت",
        provider="معالج",
        service="ملاقات",
        place="جگہ",
        cancelling="منسوخ کرنے پر",
        join="ملاقات میں شامل ہوں",
        open="کھولیں",
        manage="وقت بدلیں یا منسوخ کریں",
        link_note="یہ لنک صرف آپ کے لیے ہے اور ملاقات سے 30 منٹ پہلے کھلتا ہے۔ براہِ کرم کسی کو نہ دیں۔",
        footer="یہ ای میل {clinic} نے بھیجی ہے۔ اس کے جوابات نہیں پڑھے جاتے۔",
        summary="ملاقات",
    ),
    "ar": Labels(
        when="الموعد",
        provider="مع",
        service="الزيارة",
        place="المكان",
        cancelling="عند الإلغاء",
        join="الانضمام إلى الزيارة",
        open="فتح",
        manage="تغيير الموعد أو إلغاؤه",
        link_note="هذا الرابط لك وحدك ويُفتح قبل الزيارة بـ 30 دقيقة. يرجى عدم مشاركته.",
        footer="أُرسلت هذه الرسالة من {clinic}. لا أحد يقرأ الردود عليها.",
        summary="موعد",
    ),
}

# What cancelling costs until when: nothing, a part of the price, or all of it; ``then_``: after the line before.
CANCELLING: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "free": "Free until {until}.",
        "part": "Until {until} it costs {fee}; the rest, {refund}, goes back to you.",
        "whole": "It costs the whole price, {fee}; nothing goes back.",
        "then_free": "After that, until {until}, free.",
        "then_part": "After that, until {until}, it costs {fee}; the rest, {refund}, goes back to you.",
        "then_whole": "After that it costs the whole price, {fee}; nothing goes back.",
    },
    "ur": {
        "free": "{until} تک کوئی فیس نہیں۔",
        "part": "{until} تک فیس {fee} ہے؛ باقی رقم {refund} آپ کو واپس ملے گی۔",
        "whole": "پوری قیمت {fee} دینی ہو گی؛ کوئی رقم واپس نہیں ملے گی۔",
        "then_free": "اس کے بعد {until} تک کوئی فیس نہیں۔",
        "then_part": "اس کے بعد {until} تک فیس {fee} ہے؛ باقی رقم {refund} آپ کو واپس ملے گی۔",
        "then_whole": "اس کے بعد پوری قیمت {fee} دینی ہو گی؛ کوئی رقم واپس نہیں ملے گی۔",
    },
    "ar": {
        "free": "مجاني حتى {until}.",
        "part": "حتى {until} الرسوم {fee}، ويُعاد إليك الباقي {refund}.",
        "whole": "تدفع السعر كاملا {fee}، ولا يُعاد إليك شيء.",
        "then_free": "بعد ذلك وحتى {until} مجاني.",
        "then_part": "بعد ذلك وحتى {until} الرسوم {fee}، ويُعاد إليك الباقي {refund}.",
        "then_whole": "بعد ذلك تدفع السعر كاملا {fee}، ولا يُعاد إليك شيء.",
    },
}

WORDS: Final[Mapping[str, Mapping[str, Words]]] = {
    "en": {
        "confirmation": Words("Your appointment", "Your appointment is booked", "We look forward to seeing you."),
        "request": Words(
            "Your request",
            "We have your request",
            "The doctor will answer it; we will write to you as soon as they do.",
        ),
        "accepted": Words(
            "Your appointment", "Your appointment is confirmed", "The doctor has accepted the time you asked for."
        ),
        "declined": Words(
            "Your request",
            "This time is not possible",
            "The doctor cannot take the appointment at this time. Please choose another one.",
        ),
        "changed": Words(
            "Your appointment has moved",
            "Your appointment has a new time",
            "The time below replaces the earlier one, and so does the link.",
        ),
        "cancelled": Words(
            "Your appointment is cancelled",
            "Your appointment is cancelled",
            "It does not take place. The time below is free again.",
        ),
        "reminder_24h": Words("Your appointment tomorrow", "Your appointment is in 24 hours", "We expect you."),
        "reminder_1h": Words("Your appointment in 1 hour", "Your appointment is in 1 hour", "We expect you."),
        "reminder_10m": Words(
            "Your appointment in 10 minutes", "Your appointment begins in 10 minutes", "You can come in now."
        ),
        "sign_in_code": Words(
            "Your code", "Your code is {code}", "It holds for 10 minutes. Give it to nobody, not even to us."
        ),
        "staff_invite": Words(
            "Invitation", "{clinic} invites you", "You are invited to work with {clinic}. The link holds for 72 hours."
        ),
        "waitlist_offer": Words(
            "A time has become free",
            "A time has become free",
            "You are the first to be asked. The offer holds until {until}.",
        ),
        "licence_expiry": Words(
            "A document of yours expires",
            "A licence of yours expires soon",
            "When it ends, you are no longer shown to patients. Please add the new one in time.",
        ),
        "doctor_request": Words(
            "A request waits for you", "A request waits for you", "Please accept or decline it in your calendar."
        ),
        "doctor_booked": Words("A new appointment", "A new appointment", "It is in your calendar."),
        "doctor_changed": Words("An appointment has moved", "An appointment has moved", "The new time stands below."),
        "doctor_cancelled": Words(
            "An appointment is cancelled", "An appointment is cancelled", "The time below is free again."
        ),
    },
    "ur": {
        "confirmation": Words("آپ کی ملاقات", "آپ کی ملاقات طے ہو گئی ہے", "ہم آپ کے منتظر ہیں۔"),
        "request": Words(
            "آپ کی درخواست", "آپ کی درخواست مل گئی ہے", "ڈاکٹر اس کا جواب دیں گے؛ جواب ملتے ہی ہم آپ کو لکھیں گے۔"
        ),
        "accepted": Words(
            "آپ کی ملاقات", "آپ کی ملاقات کی تصدیق ہو گئی ہے", "ڈاکٹر نے آپ کا مانگا ہوا وقت قبول کر لیا ہے۔"
        ),
        "declined": Words(
            "آپ کی درخواست", "یہ وقت ممکن نہیں", "ڈاکٹر اس وقت ملاقات نہیں کر سکتے۔ براہِ کرم کوئی اور وقت چنیں۔"
        ),
        "changed": Words(
            "آپ کی ملاقات کا وقت بدل گیا ہے",
            "آپ کی ملاقات کا نیا وقت",
            "نیچے دیا گیا وقت پرانے وقت کی جگہ ہے، اور لنک بھی نیا ہے۔",
        ),
        "cancelled": Words(
            "آپ کی ملاقات منسوخ ہو گئی ہے",
            "آپ کی ملاقات منسوخ ہو گئی ہے",
            "یہ ملاقات نہیں ہو گی۔ نیچے دیا گیا وقت اب خالی ہے۔",
        ),
        "reminder_24h": Words("کل آپ کی ملاقات ہے", "آپ کی ملاقات 24 گھنٹے بعد ہے", "ہم آپ کے منتظر ہیں۔"),
        "reminder_1h": Words("1 گھنٹے بعد آپ کی ملاقات ہے", "آپ کی ملاقات 1 گھنٹے بعد ہے", "ہم آپ کے منتظر ہیں۔"),
        "reminder_10m": Words(
            "10 منٹ بعد آپ کی ملاقات ہے", "آپ کی ملاقات 10 منٹ میں شروع ہو گی", "آپ ابھی اندر آ سکتے ہیں۔"
        ),
        "sign_in_code": Words(
            "آپ کا کوڈ", "آپ کا کوڈ {code} ہے", "یہ 10 منٹ تک کارآمد ہے۔ کسی کو نہ بتائیں، ہمیں بھی نہیں۔"
        ),
        "staff_invite": Words(
            "دعوت", "{clinic} کی طرف سے دعوت", "آپ کو {clinic} کے ساتھ کام کرنے کی دعوت ہے۔ لنک 72 گھنٹے تک کارآمد ہے۔"
        ),
        "waitlist_offer": Words(
            "ایک وقت خالی ہوا ہے", "ایک وقت خالی ہوا ہے", "سب سے پہلے آپ سے پوچھا جا رہا ہے۔ یہ پیشکش {until} تک ہے۔"
        ),
        "licence_expiry": Words(
            "آپ کی ایک دستاویز ختم ہو رہی ہے",
            "آپ کا لائسنس جلد ختم ہو رہا ہے",
            "اس کے بعد آپ مریضوں کو نظر نہیں آئیں گے۔ براہِ کرم نیا لائسنس وقت پر شامل کریں۔",
        ),
        "doctor_request": Words(
            "ایک درخواست آپ کی منتظر ہے",
            "ایک درخواست آپ کی منتظر ہے",
            "براہِ کرم اپنے کیلنڈر میں اسے قبول یا رد کریں۔",
        ),
        "doctor_booked": Words("ایک نئی ملاقات", "ایک نئی ملاقات", "یہ آپ کے کیلنڈر میں ہے۔"),
        "doctor_changed": Words(
            "ایک ملاقات کا وقت بدل گیا ہے", "ایک ملاقات کا وقت بدل گیا ہے", "نیا وقت نیچے دیا گیا ہے۔"
        ),
        "doctor_cancelled": Words(
            "ایک ملاقات منسوخ ہو گئی ہے", "ایک ملاقات منسوخ ہو گئی ہے", "نیچے دیا گیا وقت اب خالی ہے۔"
        ),
    },
    "ar": {
        "confirmation": Words("موعدك", "تم حجز موعدك", "نتطلع إلى لقائك."),
        "request": Words("طلبك", "وصلنا طلبك", "سيرد عليه الطبيب، وسنكتب إليك فور رده."),
        "accepted": Words("موعدك", "تم تأكيد موعدك", "قبل الطبيب الوقت الذي طلبته."),
        "declined": Words("طلبك", "هذا الوقت غير ممكن", "لا يستطيع الطبيب استقبالك في هذا الوقت. يرجى اختيار وقت آخر."),
        "changed": Words("تغيّر وقت موعدك", "لموعدك وقت جديد", "الوقت أدناه يحل محل الوقت السابق، والرابط كذلك جديد."),
        "cancelled": Words("أُلغي موعدك", "أُلغي موعدك", "لن يُعقد هذا الموعد. الوقت أدناه صار متاحا."),
        "reminder_24h": Words("موعدك غدا", "موعدك بعد 24 ساعة", "نحن بانتظارك."),
        "reminder_1h": Words("موعدك بعد ساعة", "موعدك بعد ساعة واحدة", "نحن بانتظارك."),
        "reminder_10m": Words("موعدك بعد 10 دقائق", "يبدأ موعدك بعد 10 دقائق", "يمكنك الدخول الآن."),
        "sign_in_code": Words("رمزك", "رمزك هو {code}", "صالح لمدة 10 دقائق. لا تعطه لأحد، ولا حتى لنا."),
        "staff_invite": Words("دعوة", "دعوة من {clinic}", "أنت مدعو للعمل مع {clinic}. الرابط صالح لمدة 72 ساعة."),
        "waitlist_offer": Words("توفّر وقت", "توفّر وقت", "أنت أول من نسأله. العرض صالح حتى {until}."),
        "licence_expiry": Words(
            "وثيقة لك على وشك الانتهاء",
            "ترخيصك ينتهي قريبا",
            "بعد انتهائه لن تظهر للمرضى. يرجى إضافة الترخيص الجديد في وقته.",
        ),
        "doctor_request": Words("طلب بانتظارك", "طلب بانتظارك", "يرجى قبوله أو رفضه في تقويمك."),
        "doctor_booked": Words("موعد جديد", "موعد جديد", "تجده في تقويمك."),
        "doctor_changed": Words("تغيّر وقت موعد", "تغيّر وقت موعد", "الوقت الجديد أدناه."),
        "doctor_cancelled": Words("أُلغي موعد", "أُلغي موعد", "الوقت أدناه صار متاحا."),
    },
}


def language_of(locale: str) -> str:
    """The language in which somebody of this locale (BCP 47) is written to."""
    language = locale.replace("_", "-").partition("-")[0].lower()
    return language if language in WORDS else FALLBACK


def direction_of(language: str) -> str:
    """``rtl`` or ``ltr``, as HTML's dir."""
    return "rtl" if language in RIGHT_TO_LEFT else "ltr"
