// What the pages call the shapes of the booking half's answers; what is in them comes from /openapi.json.

import type { Answer, Shapes, Wish } from './api-types.js';

export type Kind = 'video' | 'audio' | 'in_person' | 'class';
export type Money = Shapes['Money'];
export type Card = Shapes['Card'];
export type ProviderPage = Shapes['ProviderPage'];
export type Offer = Shapes['Offer'];
export type Profile = Shapes['Profile'];
export type Slot = Answer<'GET', '/v1/providers/{provider}/slots'>['slots'][number];

export type Appointment = Shapes['Appointment'];
/** What cancelling or moving costs now. */
export type Terms = Answer<'GET', '/v1/appointments/{appointment}/terms'>;
/** What cancelling costs until then, after the step before. */
export type CancelStep = Terms['steps'][number];
export type WaitlistEntry = Answer<'GET', '/v1/waitlist'>[number];

export type SignIn = Shapes['SignIn'];
export type CodeTicket = Answer<'POST', '/v1/auth/otp'>;
export type Invitation = Answer<'POST', '/v1/invites/look'>;
export type Account = Answer<'GET', '/v1/me'>;
export type Care = Answer<'GET', '/v1/me/dependants'>[number];
export type Relation = Wish<'POST', '/v1/me/dependants'>['body']['relation'];
export type Device = Answer<'GET', '/v1/me/sessions'>[number];
export type Passkey = Answer<'GET', '/v1/me/passkeys'>[number];
export type Enrolment = Answer<'POST', '/v1/auth/mfa/totp'>;

export type Looked = Shapes['Looked'];
export type Exchanged = Shapes['Exchanged'];
export type VisitView = Shapes['VisitView'];
export type WaitingMessage = VisitView['messages'][number];
export type InstantView = Shapes['InstantView'];
export type Ring = Answer<'GET', '/v1/instant-rings'>['rings'][number];
export type QueueView = Shapes['QueueView'];
export type QueueEntry = QueueView['entries'][number];
