// What has become of a visit, in one place: the call and the waiting room end for many reasons that look the same to them
// (the socket is closed, a token is refused), and only the visit itself knows which it was. Each reason has words of its
// own (`over.*`), and what one can do then.

/** @import { EndReason } from '../client/index.js' */
/** @import { Looked, VisitView } from './booking.js' */

import { ApiError } from './http.js';
import { t } from './i18n.js';

/** Where a refusal has the same cause as something that the visit says of itself. @type {Record<string, string>} */
const BY_REFUSAL = {
  invitation_withdrawn: 'withdrawn', link_replaced: 'replaced', visit_cancelled: 'cancelled', denied: 'denied', not_your_visit: 'not_your_visit',
  not_found: 'not_found', unknown_link: 'unknown_link', device_moved: 'moved',
};

/**
 * @param {VisitView} visit as it is now
 * @param {EndReason | ''} call how the call ended for us, empty: we waited for it
 * @returns {string} a reason of `over.*`
 */
export function reasonOf(visit, call) {
  if (call === 'replaced') return 'moved';
  if (visit.end === 'cancelled') return visit.status;
  if (visit.state === 'denied') return call ? 'put_out' : 'denied';
  if (visit.status.startsWith('no_show')) return visit.status;
  if (Date.parse(visit.opens_at) > Date.now()) return 'rescheduled';
  if (visit.end === 'over') return visit.status === 'completed' ? 'completed' : 'over';
  if (call === 'left') return 'left';
  if (visit.state === 'left') return 'ended';
  return call === 'removed' ? 'removed' : 'interrupted';
}

/** @param {Looked} looked at a link that lets nobody in @returns {string} a reason of `over.*` */
export function reasonOfLink({ state, status }) {
  return state === 'over' && status && (status === 'completed' || status.startsWith('no_show')) ? status
    : state === 'cancelled' && status && /^(cancelled_by|declined|expired)/.test(status) ? status : state;
}

/** @param {unknown} error of a request about the visit @returns {string} a reason of `over.*`, empty: it says nothing about the visit */
export function reasonOfRefusal(error) {
  return error instanceof ApiError ? BY_REFUSAL[error.code] ?? (error.status === 410 ? 'gone' : '') : '';
}

/**
 * Why a call of a visit has ended. An unreachable server says nothing: then it is the network, as far as we know.
 * @param {{view(): Promise<VisitView>}} seat @param {EndReason} call
 * @returns {Promise<{reason: string, visit: VisitView | null}>}
 */
export async function outcomeOf(seat, call) {
  try {
    const visit = await seat.view();
    return { reason: reasonOf(visit, call), visit };
  } catch (error) {
    console.info('the visit does not say how it ended', error);
    const refused = error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429;
    const otherwise = call === 'left' ? 'left' : call === 'replaced' ? 'moved' : refused ? 'gone' : 'connection_lost';
    return { reason: reasonOfRefusal(error) || otherwise, visit: null };
  }
}

/** @param {string} reason @param {string} seat @param {'' | '_text'} what @param {Record<string, string>} holes */
export function endWords(reason, seat, what, holes) {
  for (const key of [`over.${reason}_${seat}${what}`, `over.${reason}${what}`]) {
    const text = t(key, holes);
    if (text !== key) return text;
  }
  return t(`over.gone${what}`);
}

/** @param {string} reason @param {string} seat @param {Record<string, string>} [holes] */
export const endTitle = (reason, seat, holes = {}) => endWords(reason, seat, '', { doctor: '', patient: '', ...holes });
