// Turns what the call reports into what the person sees and hears.

/** @import { Participant, WadudCall } from '../../client/index.js' */
/** @import { CallPage } from './page.js' */

import { DeviceError, watchDevices } from '../../client/index.js';
import { t } from '../i18n.js';
import { Comings } from './comings.js';
import { waitsForPath } from './path.js';
import { Preference } from './preference.js';

const CLOCK_MS = 1000;
/** An order that the server did not take is asked for again so much later. */
const ASK_AGAIN_MS = 5000;
/** So long after our session the others' may still be coming back. */
const SETTLED_S = 5;

/**
 * @param {CallPage} page
 * @param {WadudCall} call
 * @returns {() => void} stops listening
 */
export function listen(page, call) {
  const { announcer } = page;
  let told = false;
  const clock = setInterval(() => {
    if (waitsForPath(page) && !told) {
      told = true;
      announcer.say(t('call.workaround'), { quiet: true });
    }
    settle();
    page.draw();
  }, CLOCK_MS);
  const preference = new Preference();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let later;
  let asked = 0;
  const ask = () => {
    const order = preference.order(call.participants, page.videosAtOnce);
    if (!order) return;
    clearTimeout(later);
    const number = asked += 1;
    call.prefer(order).catch((error) => {
      console.info('preference not told', error);
      if (number === asked && stops.length > 0) later = setTimeout(askAgain, ASK_AGAIN_MS);
    });
  };
  const askAgain = () => {
    preference.forget();
    ask();
  };
  /** @type {Comings | null} from a lost session on, until everybody may be back */
  let comings = null;
  let settled_s = 0;
  const settle = () => {
    settled_s = call.health.signalling === 'open' ? settled_s + 1 : 0;
    if (!comings || settled_s < SETTLED_S) return;
    const { left, came } = comings.names;
    comings = null;
    for (const name of left) announcer.say(t('say.left', { name }));
    for (const name of came) announcer.say(t('say.joined', { name }));
  };
  const visible = () => page.keepAwake();
  document.addEventListener('visibilitychange', visible);
  const stops = [
    () => clearInterval(clock),
    () => clearTimeout(later),
    () => document.removeEventListener('visibilitychange', visible),
    watchDevices(() => page.refreshDevices()),
    call.on('participantjoined', ({ participant }) => {
      page.met = true;
      ask();
      if (comings) comings.come(participant.id, page.nameOf(participant));
      else if (page.phase === 'call') announcer.say(t('say.joined', { name: page.nameOf(participant) }));
      page.draw();
    }),
    call.on('participantleft', ({ participant }) => {
      if (comings) comings.leave(page.nameOf(participant));
      else announcer.say(t('say.left', { name: page.nameOf(participant) }));
      page.draw();
    }),
    call.on('participantupdated', ({ participant, previous }) => {
      if (!comings?.has(participant.id)) announceChange(page, participant, previous);
      page.draw();
    }),
    call.on('mediachange', () => {
      page.sound.play(call.audioStreams);
      page.draw();
    }),
    call.on('speakers', ({ speakers }) => {
      preference.hear(speakers);
      ask();
      page.draw();
    }),
    call.on('quality', () => page.draw()),
    call.on('localchange', () => page.draw()),
    call.on('pathchange', () => page.draw()),
    call.on('stats', ({ stats }) => { page.stats = stats; }),
    call.on('problem', ({ error }) => {
      if (error instanceof DeviceError && error.code === 'track_ended') announcer.say(t('say.device_lost', { device: t(`device.${error.source}`) }));
      else page.report(error);
    }),
    call.on('statechange', ({ state, previous }) => {
      if (state === 'reconnecting') announcer.say(t('say.reconnecting'), { urgent: true, quiet: true });
      if (state === 'reconnecting' && call.health.signalling === 'lost') {
        comings ??= new Comings();
        settled_s = 0;
      }
      if (state === 'connected' && previous === 'reconnecting') {
        announcer.say(t('say.reconnected'));
        page.calledAt_ms = Date.now();  // a new join looks for its way anew
        askAgain();
        page.sound.play(call.audioStreams);
      }
      page.draw();
    }),
    call.on('ended', ({ reason }) => {
      stop();
      page.finish(reason);
    }),
  ];
  function stop() {
    for (const each of stops.splice(0)) each();
  }
  return stop;
}

/** @param {CallPage} page @param {Participant} participant @param {Participant} previous */
function announceChange(page, participant, previous) {
  const { announcer } = page;
  const name = page.nameOf(participant);
  if (participant.connection !== previous.connection && previous.connection !== 'connecting') {
    announcer.say(t(participant.connection === 'reconnecting' ? 'say.other_reconnecting' : 'say.other_reconnected', { name }));
  }
  const shows = (/** @type {Participant} */ whose) => whose.tracks.some((track) => track.source === 'screen' && !track.muted);
  if (shows(participant) !== shows(previous)) announcer.say(t(shows(participant) ? 'say.shares' : 'say.shares_no_more', { name }));
  const muted = (/** @type {Participant} */ whose) => whose.tracks.find((track) => track.source === 'microphone')?.muted ?? true;
  if (muted(participant) !== muted(previous)) {
    announcer.say(t(muted(participant) ? 'say.muted' : 'say.unmuted', { name }), { quiet: true });
  }
}
