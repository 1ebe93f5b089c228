// The speaker test: three soft notes through the chosen speaker. They are made here, so nothing is downloaded, and played
// through an <audio> element, since only that can be sent to a chosen device.

const NOTES_HZ = [523.25, 659.25, 783.99];
const NOTE_S = 0.32;

/** @param {string} speakerId device id, empty for the default @returns {Promise<void>} when the last note has died away */
export async function playChime(speakerId) {
  const context = new AudioContext();
  const target = context.createMediaStreamDestination();
  const audio = new Audio();
  audio.srcObject = target.stream;
  if (speakerId && 'setSinkId' in audio) {
    await audio.setSinkId(speakerId).catch((error) => console.info('speaker not available, using the default', error));
  }
  try {
    await play(context, target, audio);
  } finally {
    audio.srcObject = null;
    await context.close();
  }
}

/** @param {AudioContext} context @param {MediaStreamAudioDestinationNode} target @param {HTMLAudioElement} audio */
async function play(context, target, audio) {
  await Promise.all([context.resume(), audio.play()]);
  NOTES_HZ.forEach((frequency, index) => {
    const begin = context.currentTime + 0.1 + index * NOTE_S;
    const gain = new GainNode(context, { gain: 0 });
    gain.gain.setValueAtTime(0, begin);
    gain.gain.linearRampToValueAtTime(0.22, begin + 0.03);
    gain.gain.exponentialRampToValueAtTime(0.001, begin + NOTE_S * 2);
    const note = new OscillatorNode(context, { frequency, type: 'sine' });
    note.connect(gain).connect(target);
    note.start(begin);
    note.stop(begin + NOTE_S * 2);
  });
  await new Promise((resolve) => setTimeout(resolve, 1000 * (NOTE_S * (NOTES_HZ.length + 1) + 0.3)));
}
