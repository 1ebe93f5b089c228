// Holds the hand-kept public types (web/src/client/index.d.ts) against the implementation, and those of requests against
// what they must refuse; checked by tsc, never run.

import type * as api from '../../web/src/client/index.js';
import { request } from '../../web/src/app/http.js';
import { WadudCall, connect } from '../../web/src/client/call.js';
import { listDevices, openDevices, openScreen, watchDevices } from '../../web/src/client/devices.js';
import { ConnectionError, DeviceError, SignallingError, StateError, WadudError } from '../../web/src/client/errors.js';
import { scoreOf } from '../../web/src/client/quality.js';

export const functions: Omit<typeof api, 'WadudCall' | 'connect'> = {
  listDevices, openDevices, openScreen, watchDevices, scoreOf,
  ConnectionError, DeviceError, SignallingError, StateError, WadudError,
};

/** `addEventListener` is EventTarget's own: only its declaration knows our events. */
type Call = Omit<api.WadudCall, 'addEventListener'>;
export const construct = (options: api.CallOptions): Call => new WadudCall(options);
export const joins: (options: api.CallOptions) => Promise<Call> = connect;

/** The compiler also knows the details of events. */
export function usage(call: api.WadudCall): void {
  call.on('participantjoined', ({ participant }) => participant.tracks.map((track): api.Source => track.source));
  call.addEventListener('ended', (event) => event.detail.reason satisfies api.EndReason);
  // @ts-expect-error there is no such event
  call.on('unheard_of', () => {});
  // @ts-expect-error screens are shared, not muted
  void call.setMuted('screen', true);
}

/** The compiler knows from /openapi.json what may be asked, and what is answered. */
export async function asks(appointment: string): Promise<void> {
  const terms = await request('GET', '/v1/appointments/{appointment}/terms', { path: { appointment } });
  terms.steps.map(({ until }): string => until);
  // @ts-expect-error there is no such path
  void request('GET', '/v1/nothing');
  // @ts-expect-error there is no such method of it
  void request('DELETE', '/v1/appointments/{appointment}/terms', { path: { appointment } });
  // @ts-expect-error the path has a part
  void request('GET', '/v1/appointments/{appointment}/terms');
  // @ts-expect-error a hold wants a key
  void request('POST', '/v1/holds', { body: { service: '', start: '' } });
  // @ts-expect-error a message has a body
  void request('POST', '/v1/visits/{appointment}/messages', { path: { appointment }, body: {} });
  // @ts-expect-error no such thing is answered
  void terms.nothing;
}
