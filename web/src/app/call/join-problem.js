// Why a join did not work, in words.

import { ConnectionError, SignallingError } from '../../client/index.js';
import { ApiError, problemText } from '../http.js';
import { t } from '../i18n.js';

/** @param {unknown} failure @returns {string} what to tell the person */
export function joinProblem(failure) {
  const error = failure instanceof ConnectionError && failure.cause instanceof ApiError ? failure.cause : failure;
  const code = error instanceof ApiError && error.status === 404 ? 'no_room'
    : error instanceof ConnectionError ? 'unreachable'
      : error instanceof SignallingError || error instanceof ApiError ? error.code : 'unknown';
  const text = t(`join.${code}`);
  if (text !== `join.${code}`) return text;
  return error instanceof ApiError ? problemText(error) : t('join.unknown');
}
