// What cancelling costs, in plain words: until when it is free, what it costs after that, and what one gets back. The same
// words stand before one books, in the list of visits, and where one cancels; mails have their own (booking/mail/texts.py).

/** @import { CancelStep, Terms } from './booking.js' */

import { html, nothing } from 'lit-html';
import { t } from './i18n.js';
import { icon } from './icons.js';
import { amount, dayAndClock, isolated, ownZone } from './when.js';

/** @param {{fee_minor: number, refund_minor: number}} cost */
const kindOf = ({ fee_minor, refund_minor }) => (fee_minor === 0 ? 'free' : refund_minor ? 'part' : 'whole');

/** @param {{fee_minor: number, refund_minor: number}} cost @param {string} currency */
const amounts = (cost, currency) => ({
  fee: isolated(amount({ amount_minor: cost.fee_minor, currency })), refund: isolated(amount({ amount_minor: cost.refund_minor, currency })),
});

/** A sentence for each time in which cancelling costs the same, from now on. @param {CancelStep[]} steps @param {string} currency @returns {string[]} */
export function termsText(steps, currency) {
  return steps.filter(({ until }) => Date.parse(until) > Date.now()).map((step, index) => (
    t(`terms.${index ? 'then_' : ''}${kindOf(step)}`, { until: isolated(dayAndClock(step.until, ownZone())), ...amounts(step, currency) })));
}

/** What it costs now, empty where no money is in it. @param {Terms} terms */
export function costText(terms) {
  return terms.fee_minor === 0 && terms.refund_minor === 0 ? '' : t(`terms.now_${kindOf(terms)}`, amounts(terms, terms.currency));
}

/** @param {CancelStep[] | undefined} steps @param {string} currency */
export function termsView(steps, currency) {
  const lines = termsText(steps ?? [], currency);
  return lines.length ? html`
    <div class="terms" data-testid="terms">${icon('calendar')}<div><p><strong>${t('terms.title')}</strong></p>
      <ul>${lines.map((line) => html`<li>${line}</li>`)}</ul></div></div>` : nothing;
}
