// The shapes of the booking half's answers that the pages read. /openapi.json is the truth; this is what we use of it.

export type Kind = 'video' | 'audio' | 'in_person' | 'class';

export interface Money { amount_minor: number; currency: string }
export interface Named { code: string; name: string }

export interface Card {
  id: string; slug: string; name: string; title: string; gender: string | null; languages: string[]; specialties: Named[]; kinds: Kind[];
  price_from: Money | null; rating: { average: number | null; count: number }; next_free_at: string | null; online: boolean;
  place: Named | null; distance_km: number | null;
}
export interface ProviderPage { items: Card[]; similar: boolean; next: string | null }

export interface Offer {
  id: string; name: string; kind: Kind; minutes: number; price: Money; capacity: number; notice_minutes: number; horizon_days: number;
}
export interface Profile {
  card: Card; bio: string; timezone: string;
  location: { name: string; address: string; latitude: number | null; longitude: number | null; timezone: string } | null;
  services: Offer[]; licences: { issuer: string; country: string; number: string }[];
}

export interface Slot { start: string; end: string }

/** The names are there only where the server, or the doctor's profile, told them. */
export interface Appointment {
  id: string; provider: string; service: string; status: string; kind: Kind; starts_at: string; ends_at: string; hold_until: string | null;
  patient: string | null; provider_timezone: string; payment: string; reason?: string;
  doctor_name?: string; service_name?: string; patient_name?: string; price_minor?: number; currency?: string; cancelling?: CancelStep[];
}
/** What cancelling costs until then, after the step before. */
export interface CancelStep { until: string; fee_minor: number; refund_minor: number }
/** What cancelling or moving costs now. */
export interface Terms { may_cancel: boolean; steps: CancelStep[]; fee_minor: number; refund_minor: number; currency: string; may_reschedule: boolean }
export interface Me { person: string; name: string; anonymous: boolean; roles: string[] }

export interface SignIn {
  state: 'signed_in' | 'second_factor'; access_token: string | null; expires_in: number; person: string | null; roles: string[];
  second_factor_due: boolean; ticket: string | null;
}
export interface Invitation { state: 'open' | 'over'; clinic: string; email: string; role: string | null; expires_at: string }
export interface Account {
  id: string; name: string; anonymous: boolean; roles: string[]; amr: string[];
  contacts: { id: string; kind: 'email' | 'phone' | 'oidc'; value: string }[]; has_password: boolean; has_totp: boolean;
}
export interface Care { id: string; person: string; name: string; relation: string; rights: string[]; until: string | null; birth_year: number | null }
export interface Device { id: string; device: string; created_at: string; seen_at: string; current: boolean }
export interface Passkey { id: string; label: string; created_at: string; used_at: string | null }
export interface Enrolment { secret: string; uri: string }
/** `options` as `PublicKeyCredential.parse...OptionsFromJSON` takes them. */
export interface Ceremony { id: string; options: any }
export interface CodeTicket { ticket: string; expires_in: number; resend_after: number }

export type LinkState = 'open' | 'early' | 'over' | 'replaced' | 'cancelled' | 'withdrawn';
export interface Looked {
  state: LinkState; clinic: string; language: string; seat: 'patient' | 'doctor' | 'third'; status: string | null; doctor: string | null;
  doctor_slug: string | null; talked_s: number | null;
  starts_at: string | null; ends_at: string | null; opens_at: string | null; timezone: string | null;
  needs_birth_year: boolean; needs_sign_in: boolean; gesture: string | null;
}
export interface Exchanged {
  state: 'seated' | 'elsewhere' | LinkState; appointment: string | null; starts_at: string | null; opens_at: string | null;
}

export interface WaitingMessage { seq: number; from_seat: 'patient' | 'doctor' | 'third' | 'clinic'; body: string; at: string; own: boolean }
export interface VisitView {
  appointment: string; seat: 'patient' | 'doctor' | 'third'; state: 'away' | 'waiting' | 'admitted' | 'denied' | 'left'; status: string;
  end: 'cancelled' | 'over' | null; payment: string; doctor: string; doctor_slug: string; doctor_here: boolean; clinic: string;
  starts_at: string; ends_at: string; opens_at: string; closes_at: string; timezone: string; arrived_at: string | null;
  position: number | null; wait: { low_min: number; high_min: number } | null; delay_minutes: number; talked_s: number | null;
  others: { seat: string; holder: string; name: string; state: string; here: boolean }[]; messages: WaitingMessage[];
}
export interface RoomToken { token: string; room: string; identity: string; name: string; role: 'host' | 'guest'; expires_at: string; refresh_after_s: number }

/** `offer`: the hold that is offered, until `offer_until`. `ahead`: how many wait longer. */
export interface WaitlistEntry {
  id: string; service: string; provider: string; patient: string; earliest: string; latest: string;
  state: 'waiting' | 'offered' | 'accepted' | 'lapsed' | 'left'; offer: string | null; offer_start: string | null; offer_until: string | null; ahead: number;
}
export interface InstantView {
  request: string; state: 'ringing' | 'accepted' | 'unanswered' | 'cancelled'; ring: number; ring_until: string;
  doctor: string | null; appointment: string | null;
}
export interface Ring { request: string; specialty: string; language: string; reason: string; rung_at: string; ring_until: string; here: boolean }
export interface QueueEntry {
  ticket: string; no: number; kind: string; state: 'waiting' | 'admitted'; place: number | null; appointment: string | null; patient: string;
  name: string; status: string | null; payment: string | null; starts_at: string | null; joined_at: string; here: boolean;
  device_check: Record<string, boolean>; messages: WaitingMessage[]; companions: Companion[];
}
export interface Companion { holder: string; name: string; state: 'waiting' | 'admitted'; here: boolean }
export interface QueueView { provider: string; day: string; delay_minutes: number; entries: QueueEntry[] }
