/**
 * Wadud client library: one call, seen from one participant.
 *
 * Units stand in names (`rtt_ms`, `bitrate_bps`). Times are milliseconds. Field names that travel on the wire
 * (`wadud.v1`, see docs/protocol.md) keep their spelling.
 */

/** What a track shows. A participant has at most one track per source. */
export type Source = 'microphone' | 'camera' | 'screen';
export type Kind = 'audio' | 'video';
export type Right = 'publish' | 'subscribe' | 'share_screen' | 'moderate';
export type Role = 'host' | 'guest';

/** Life of a call: `new` → `connecting` → `connected` ⇄ `reconnecting` → `ended`. */
export type CallState = 'new' | 'connecting' | 'connected' | 'reconnecting' | 'ended';

/** Why a call ended. `left` is our own doing; the `bye` reasons come from the server; the last two are failures. */
export type EndReason =
  | 'left' | 'removed' | 'replaced' | 'room_closed' | 'token_expired' | 'revoked' | 'connection_lost' | 'refused';

export interface Track {
  readonly id: string;
  readonly source: Source;
  readonly kind: Kind;
  readonly muted: boolean;
  /** The media, or null while no slot carries this track (muted, or not among the chosen or the loudest). */
  readonly stream: MediaStream | null;
}

export interface Participant {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  readonly connection: 'connecting' | 'connected' | 'reconnecting';
  readonly tracks: readonly Track[];
  /** True for our own entry (`WadudCall.self`). */
  readonly self: boolean;
}

export interface Speaker {
  readonly participant: string;
  /** Loudness from 0 (silence) to 1. */
  readonly level: number;
}

export interface Quality {
  readonly participant: string;
  /** Estimated mean opinion from 1 (bad) to 5 (excellent): an engineering indicator, never a clinical statement. */
  readonly score: number;
  readonly rtt_ms: number;
  readonly loss_percent: number;
}

/** Our own leg, from `RTCPeerConnection.getStats`, once per second. */
export interface LocalStats {
  readonly rtt_ms: number;
  readonly jitter_ms: number;
  readonly loss_percent: number;
  readonly inbound_bps: number;
  readonly outbound_bps: number;
  /** As `WadudCall.path` at the time of this sample. */
  readonly path: MediaPath | null;
  readonly score: number;
}

/** How our packets reach the server. */
export interface MediaPath {
  /** Straight to the media server, or through its relay (TURN). */
  readonly kind: 'direct' | 'relay';
  /** From us to the media server, or to the relay. */
  readonly protocol: 'udp' | 'tcp' | 'tls';
  /** Of the address that we talk to. */
  readonly family: 'ipv4' | 'ipv6';
}

/** One of our own tracks. `track` is null while nothing is captured (camera off, no device). */
export interface Publication {
  readonly source: Source;
  readonly muted: boolean;
  readonly track: MediaStreamTrack | null;
}

export interface CallOptions {
  /** Address of the signalling socket, `wss://host/v1/signal`. */
  url: string;
  /**
   * Room token, or a function that fetches one; a function is asked again when a lost call has to join anew, and when the
   * credentials of the relay, which end with the token, are renewed.
   */
  token: string | (() => Promise<string>);
  /** Our own name as the room knows it, for `WadudCall.self`. */
  name?: string;
  /** Tracks to send from the start. A missing one can be added later with `setMicrophone` or `setCamera`. */
  tracks?: { microphone?: MediaStreamTrack | null; camera?: MediaStreamTrack | null };
  /** Devices, by id, that are opened when a source without a track is unmuted. Default, also for an empty one: the browser's choice. */
  devices?: { microphone?: string; camera?: string };
  /** Sources that start muted. */
  muted?: { microphone?: boolean; camera?: boolean };
  /** False for a listener who offers no tracks at all. Default true. */
  publish?: boolean;
  /** Audio slots of the first offer: the loudest speakers that are heard at once. Default 2, and a third when there are three others. */
  audioSlots?: number;
  /** Video slots of the first offer. Default 2. */
  videoSlots?: number;
  /** The call re-offers for more video slots while the room shows more video, up to this many. Default 26. */
  maxVideoSlots?: number;
  /** Codec to prefer for our own video. Default: VP8, which every browser decodes. */
  videoCodec?: 'VP8' | 'H264' | 'VP9' | 'AV1';
  /**
   * STUN and TURN servers instead of those that the server gives (`POST /v1/ice-servers` beside `url`); `[]` for none. They
   * are taken as they are and never renewed.
   */
  iceServers?: RTCIceServer[];
  /** `relay` hides every way but those through a relay, for tests and where addresses must not be seen. Default `all`. */
  iceTransportPolicy?: RTCIceTransportPolicy;
  /** Free text that tells the server what runs here, for support. */
  client?: string;
  /** How long to try before a lost call is given up, in milliseconds. Default 300,000. */
  giveUp_ms?: number;
  /** Replaces the browser's clock, randomness and network classes; for tests. */
  environment?: Partial<Environment>;
}

/** Everything that the library takes from the browser. */
export interface Environment {
  WebSocket: typeof WebSocket;
  RTCPeerConnection: typeof RTCPeerConnection;
  MediaStream: typeof MediaStream;
  mediaDevices: MediaDevices | undefined;
  fetch: typeof fetch;
  setTimeout: (run: () => void, delay_ms: number) => unknown;
  clearTimeout: (timer: unknown) => void;
  now: () => number;
  random: () => number;
  /** Fires `online`; the window in a browser. */
  events: EventTarget | undefined;
  /** `navigator.connection` where it exists. */
  network: (EventTarget & { readonly type?: string }) | undefined;
}

/** Event name → type of `event.detail`. */
export interface CallEvents {
  statechange: { state: CallState; previous: CallState };
  participantjoined: { participant: Participant };
  participantleft: { participant: Participant; reason: string };
  /** Name, connection or tracks of a participant changed; `previous` is the entry before. */
  participantupdated: { participant: Participant; previous: Participant };
  /** Which streams carry whom changed: read `participants` and `audioStreams` again. */
  mediachange: Record<string, never>;
  /** Loudest first; empty when all are silent. */
  speakers: { speakers: readonly Speaker[] };
  /** Qualities of everybody that is known, by participant id. */
  quality: { participants: ReadonlyMap<string, Quality> };
  stats: { stats: LocalStats };
  /** Media take another way, or a first one; null while a call joins anew. */
  pathchange: { path: MediaPath | null; previous: MediaPath | null };
  /** One of our own publications changed: muted, other device, started or stopped. */
  localchange: { publication: Publication };
  /** A device disappeared (`track_ended`) or a background step failed; the call goes on. */
  problem: { error: WadudError; source?: Source };
  ended: { reason: EndReason; error: WadudError | null };
}

/**
 * One participation in one room.
 *
 * The call survives what it can by itself: a lost socket is resumed with backoff, a broken path gets an ICE
 * restart, and a session that the server has forgotten is joined anew with the same tracks.
 */
export class WadudCall extends EventTarget {
  constructor(options: CallOptions);

  readonly state: CallState;
  /** Which half is being repaired while `state` is `reconnecting`. */
  readonly health: { readonly signalling: 'open' | 'lost'; readonly media: 'new' | 'connected' | 'lost' };
  readonly room: string;
  /** Ourselves as the room sees us; null before the room has let us in. */
  readonly self: Participant | null;
  /** Everybody else, in order of arrival. */
  readonly participants: readonly Participant[];
  readonly speakers: readonly Speaker[];
  readonly qualities: ReadonlyMap<string, Quality>;
  readonly rights: readonly Right[];
  /** The way that media take; null until one is found. */
  readonly path: MediaPath | null;
  /** Our own publications by source. */
  readonly publications: ReadonlyMap<Source, Publication>;
  /** One stream per audio slot; play all of them, their speakers change by themselves. */
  readonly audioStreams: readonly MediaStream[];
  /** The underlying connection, for support and tests. */
  readonly peerConnection: RTCPeerConnection | null;

  /**
   * Opens the socket ahead of `connect`, say while a device check is on the screen, and asks for the relay when the token
   * is known already. Never throws.
   */
  prepare(): void;
  /**
   * Joins. Resolves when the server has answered; media follow. A call that is refused leaves the tracks that it was given open.
   * @throws {SignallingError} the server refused (`bad_token`, `room_full`, …)
   * @throws {ConnectionError} the server could not be reached, or the call was ended meanwhile (`closed`)
   */
  connect(): Promise<void>;
  /** Leaves and stops every track of ours. Idempotent. */
  leave(): Promise<void>;

  /**
   * Mutes or opens one of our sources. A muted microphone keeps its device; a muted camera gives it back, so that
   * its light goes off, and opens it again later.
   * @throws {DeviceError} the camera cannot be opened again
   * @throws {ConnectionError} the call ended while a device was opening (`closed`); so do the next three, and the device goes off
   */
  setMuted(source: 'microphone' | 'camera', muted: boolean): Promise<void>;
  /** Sends another microphone from now on: a device id, or a track of your own. No renegotiation. */
  setMicrophone(device: string | MediaStreamTrack): Promise<void>;
  /** Sends another camera from now on: a device id, or a track of your own. No renegotiation. */
  setCamera(device: string | MediaStreamTrack): Promise<void>;
  /**
   * Shares a screen: the given track, or the one that the person picks.
   * @throws {DeviceError} nothing was picked (`dismissed`), the system forbids it (`system_denied`), or sharing is not possible here
   * @throws {SignallingError} `forbidden` without the right `share_screen`
   */
  shareScreen(track?: MediaStreamTrack): Promise<void>;
  stopScreen(): Promise<void>;

  /** Who should have video slots, best first, when there are fewer slots than videos. */
  prefer(participants: readonly string[]): Promise<void>;
  /** Removes a participant. @throws {SignallingError} `forbidden` without the right `moderate` */
  remove(participant: string): Promise<void>;
  getStats(): Promise<RTCStatsReport | null>;

  /** Like `addEventListener`, but with the detail as argument; returns the function that stops it. */
  on<K extends keyof CallEvents>(type: K, listener: (detail: CallEvents[K]) => void): () => void;
  addEventListener<K extends keyof CallEvents>(
    type: K, listener: (event: CustomEvent<CallEvents[K]>) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(
    type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

/** Creates a call and joins it. Throws what `WadudCall.connect` throws. */
export function connect(options: CallOptions): Promise<WadudCall>;

/** Every error of the library: `code` is stable and meant for programs, `message` for logs. */
export class WadudError extends Error {
  constructor(code: string, message?: string, options?: ErrorOptions);
  readonly code: string;
}

/** The server refused a request; `code` is one of the protocol's error codes. */
export class SignallingError extends WadudError {
  constructor(code: string, message?: string, fatal?: boolean);
  /** True when the session is over. */
  readonly fatal: boolean;
}

/** The way to the server failed: `unreachable`, `socket_lost`, `timeout`, `gave_up`, `protocol`, `closed`. */
export class ConnectionError extends WadudError {}

/** The library was used at a wrong moment: `not_connected`, `already_connected`, `not_published`. */
export class StateError extends WadudError {}

export type DeviceCode =
  /** The page is not served over https or from localhost, so the browser offers no devices. */
  | 'insecure'
  /** This browser has no such function. */
  | 'unsupported'
  /** The person or a policy blocked the device for this site. */
  | 'denied'
  /** The question was closed without an answer; asking again is possible. */
  | 'dismissed'
  /** The operating system blocks the browser. */
  | 'system_denied'
  | 'not_found'
  /** Another program holds the device, or the hardware failed. */
  | 'in_use'
  /** The device disappeared while in use. */
  | 'track_ended'
  | 'unknown';

/** A microphone, camera or screen could not be opened. */
export class DeviceError extends WadudError {
  constructor(code: DeviceCode, source: Source, options?: ErrorOptions);
  readonly code: DeviceCode;
  readonly source: Source;
}

export interface OpenedDevices {
  microphone: MediaStreamTrack | null;
  camera: MediaStreamTrack | null;
  /** Why a wanted device is missing. */
  problems: { microphone?: DeviceError; camera?: DeviceError };
}

/** What to open: a device id, true for the default, false or missing for none. */
export interface DeviceWish { microphone?: boolean | string; camera?: boolean | string }

/**
 * Opens microphone and camera with one question to the person where possible; when one of the two fails, the other is
 * still opened. Never throws: what failed stands in `problems`.
 */
export function openDevices(wish: DeviceWish, environment?: Partial<Environment>): Promise<OpenedDevices>;
/** Lets the person pick a screen or window. @throws {DeviceError} */
export function openScreen(environment?: Partial<Environment>): Promise<MediaStreamTrack>;

export interface DeviceList { microphones: MediaDeviceInfo[]; cameras: MediaDeviceInfo[]; speakers: MediaDeviceInfo[] }
/** Devices that can be chosen now; labels are empty until a permission is given. */
export function listDevices(environment?: Partial<Environment>): Promise<DeviceList>;
/** Calls back when devices come or go; returns the function that stops it. */
export function watchDevices(listener: () => void, environment?: Partial<Environment>): () => void;

/** Mean opinion score from 1 to 5 by a shortened E-model (ITU-T G.107) for Opus with in-band FEC. */
export function scoreOf(leg: { rtt_ms: number; jitter_ms: number; loss_percent: number }): number;
