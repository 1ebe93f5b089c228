// After the call of a visit: what has become of the visit, and what its doctor can still do to it. The visit is asked, again
// as long as the server is not reached: a call that was lost may have been ended meanwhile, and then that is what is told.

/** @import { EndReason } from '../../client/index.js' */
/** @import { VisitView } from '../booking.js' */
/** @import { VisitCall } from './visit.js' */

import { announce } from '../announce.js';
import { problemText } from '../http.js';
import { goTo } from '../navigation.js';
import { endTitle } from '../visit-end.js';

const ASK_AGAIN_MS = 5000;

export class AfterVisit {
  /** Null while the visit is asked. @type {{reason: string, visit: VisitView | null} | null} */
  outcome = null;
  busy = false;
  problem = '';
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {VisitCall} visit @param {() => void} changed draws at once */
  constructor(visit, changed) {
    this.visit = visit;
    this.changed = changed;
  }

  /** @param {EndReason} call how it ended */
  async learn(call) {
    clearTimeout(this.#timer);
    const before = this.outcome?.reason;
    const outcome = await this.visit.outcome(call);
    this.outcome = outcome;
    this.changed();
    if (outcome.reason !== before) {
      announce(endTitle(outcome.reason, this.visit.seat, { doctor: outcome.visit?.doctor ?? '' }), { urgent: true });
      document.getElementById('ended-title')?.focus({ preventScroll: true });
    }
    if (outcome.reason === 'connection_lost') this.#timer = setTimeout(() => this.learn(call), ASK_AGAIN_MS);
  }

  /** The doctor, after leaving: nobody else goes on either. */
  endVisit() {
    return this.#doing(async () => {
      await this.visit.end();
      await this.learn('revoked');
    });
  }

  /** The doctor opens the visit once more, and waits in it. */
  callAgain() {
    return this.#doing(async () => {
      await this.visit.callAgain();
      goTo(this.visit.back);
    });
  }

  /** @param {() => Promise<void>} deed one at a time */
  async #doing(deed) {
    if (this.busy) return;
    Object.assign(this, { busy: true, problem: '' });
    this.changed();
    try {
      await deed();
    } catch (error) {
      console.error(error);
      this.problem = problemText(error);
    }
    this.busy = false;
    this.changed();
    if (document.activeElement === document.body) document.getElementById('ended-title')?.focus();
  }
}
