// Microphone, camera and screen, with failures told apart: browsers report very different situations under one name, and
// each needs another help. What the name leaves open is settled by the permission state and the list of devices.

/** @import { DeviceCode, DeviceList, DeviceWish, Environment, OpenedDevices, Source } from './index.js' */

import { environmentOf } from './environment.js';
import { DeviceError } from './errors.js';

const AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
const VIDEO = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };

/**
 * @param {DeviceWish} wish
 * @param {Partial<Environment>} [replaced]
 * @returns {Promise<OpenedDevices>}
 */
export async function openDevices(wish, replaced) {
  const { mediaDevices } = environmentOf(replaced);
  /** @type {OpenedDevices} */
  const opened = { microphone: null, camera: null, problems: {} };
  const wanted = /** @type {('microphone' | 'camera')[]} */ (['microphone', 'camera']).filter((source) => wish[source]);
  if (!mediaDevices?.getUserMedia) {
    for (const source of wanted) opened.problems[source] = new DeviceError(noDevicesCode(), source);
    return opened;
  }
  if (wanted.length === 2) {
    try {
      const stream = await mediaDevices.getUserMedia({
        audio: constraintsOf('microphone', wish.microphone), video: constraintsOf('camera', wish.camera),
      });
      return { ...opened, microphone: stream.getAudioTracks()[0] ?? null, camera: stream.getVideoTracks()[0] ?? null };
    } catch (error) {
      // A person who closes or refuses the common question should not be asked two more times.
      if (nameOf(error) === 'NotAllowedError') {
        const codes = await Promise.all(wanted.map((source) => codeOf(error, source)));
        const open = wanted.filter((_, index) => codes[index] === 'unknown');
        wanted.forEach((source, index) => {
          if (codes[index] !== 'unknown') opened.problems[source] = new DeviceError(codes[index], source, { cause: error });
        });
        wanted.splice(0, wanted.length, ...open);
      }
    }
  }
  for (const source of wanted) {
    try {
      opened[source] = await openOne(mediaDevices, source, wish[source]);
    } catch (error) {
      opened.problems[source] = new DeviceError(await codeOf(error, source), source, { cause: error });
    }
  }
  return opened;
}

/**
 * @param {'microphone' | 'camera'} source
 * @param {boolean | string} which device id or true
 * @param {Partial<Environment>} [replaced]
 * @returns {Promise<MediaStreamTrack>}
 * @throws {DeviceError}
 */
export async function openDevice(source, which, replaced) {
  const { [source]: track, problems } = await openDevices({ [source]: which }, replaced);
  if (!track) throw problems[source] ?? new DeviceError('unknown', source);
  return track;
}

/**
 * @param {Partial<Environment>} [replaced]
 * @returns {Promise<MediaStreamTrack>}
 */
export async function openScreen(replaced) {
  const { mediaDevices } = environmentOf(replaced);
  if (!mediaDevices?.getDisplayMedia) throw new DeviceError(mediaDevices ? 'unsupported' : noDevicesCode(), 'screen');
  try {
    const stream = await mediaDevices.getDisplayMedia({ video: { frameRate: { max: 30 } } });
    return stream.getVideoTracks()[0];
  } catch (error) {
    // No permission is kept for a screen: unless the system refuses, a refusal is one of the moment.
    const dismissed = nameOf(error) === 'NotAllowedError' && !refusedBySystem(error);
    throw new DeviceError(dismissed ? 'dismissed' : await codeOf(error, 'screen'), 'screen', { cause: error });
  }
}

/**
 * @param {Partial<Environment>} [replaced]
 * @returns {Promise<DeviceList>}
 */
export async function listDevices(replaced) {
  const { mediaDevices } = environmentOf(replaced);
  const all = await mediaDevices?.enumerateDevices?.() ?? [];
  const named = (/** @type {string} */ kind) => all.filter((device) => device.kind === kind && device.deviceId !== '');
  return { microphones: named('audioinput'), cameras: named('videoinput'), speakers: named('audiooutput') };
}

/**
 * @param {() => void} listener
 * @param {Partial<Environment>} [replaced]
 */
export function watchDevices(listener, replaced) {
  const { mediaDevices } = environmentOf(replaced);
  mediaDevices?.addEventListener('devicechange', listener);
  return () => mediaDevices?.removeEventListener('devicechange', listener);
}

/**
 * @param {MediaDevices} mediaDevices
 * @param {'microphone' | 'camera'} source
 * @param {boolean | string | undefined} which
 */
async function openOne(mediaDevices, source, which) {
  const kind = source === 'microphone' ? 'audio' : 'video';
  try {
    const stream = await mediaDevices.getUserMedia({ [kind]: constraintsOf(source, which) });
    return stream.getTracks()[0];
  } catch (error) {
    // The remembered device is gone: any other is better than none.
    if (typeof which !== 'string' || !['OverconstrainedError', 'NotFoundError'].includes(nameOf(error))) throw error;
    const stream = await mediaDevices.getUserMedia({ [kind]: constraintsOf(source, true) });
    return stream.getTracks()[0];
  }
}

/**
 * @param {'microphone' | 'camera'} source
 * @param {boolean | string | undefined} which
 * @returns {MediaTrackConstraints | boolean}
 */
function constraintsOf(source, which) {
  if (!which) return false;
  const base = source === 'microphone' ? AUDIO : VIDEO;
  return typeof which === 'string' ? { ...base, deviceId: { exact: which } } : base;
}

/**
 * @param {unknown} error
 * @param {Source} source
 * @returns {Promise<DeviceCode>} `unknown` for a refusal that concerned only the other device
 */
async function codeOf(error, source) {
  switch (nameOf(error)) {
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'not_found';
    case 'NotReadableError':
    case 'AbortError':
      return 'in_use';
    case 'SecurityError':
      return 'denied';
    case 'NotAllowedError': {
      if (refusedBySystem(error)) return 'system_denied';
      const state = await permissionState(source);
      if (state === 'granted') return 'unknown';
      return state === 'prompt' ? 'dismissed' : 'denied';
    }
    default:
      return 'unknown';
  }
}

/** @param {Source} source */
async function permissionState(source) {
  try {
    const name = /** @type {PermissionName} */ (/** @type {string} */ (source));
    return (await globalThis.navigator.permissions.query({ name })).state;
  } catch {
    return 'denied';  // browsers without this query do not tell: the help for "denied" covers asking again too
  }
}

/** @returns {DeviceCode} */
function noDevicesCode() {
  return globalThis.isSecureContext === false ? 'insecure' : 'unsupported';
}

/** @param {unknown} error whose name is NotAllowedError */
function refusedBySystem(error) {
  return /system/i.test(/** @type {Error} */ (error).message);
}

/** @param {unknown} error */
function nameOf(error) {
  return error instanceof Error || error instanceof globalThis.DOMException ? error.name : '';
}
