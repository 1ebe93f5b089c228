// What cancelling costs now, in words.

/** @import { Terms } from '../booking.js' */

import { t } from '../i18n.js';
import { amount } from '../when.js';

/** Empty where no money is in it. @param {Terms} terms */
export function costText({ fee_minor, refund_minor, currency }) {
  if (fee_minor === 0 && refund_minor === 0) return '';
  if (fee_minor === 0) return t('visits.cancel_free');
  return t('visits.cancel_fee', { fee: amount({ amount_minor: fee_minor, currency }), refund: amount({ amount_minor: refund_minor, currency }) });
}
