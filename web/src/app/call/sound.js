// Plays the audio slots: one <audio> element each, sent to the chosen speaker. Browsers may hold sound back until the person
// touches the page; then `blocked` asks for a button.

export class Sound {
  blocked = false;
  speakerId = '';
  /** @type {Map<MediaStream, HTMLAudioElement>} */
  #players = new Map();

  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
  }

  /** @param {readonly MediaStream[]} streams all that should be heard now */
  play(streams) {
    for (const [stream, player] of this.#players) {
      if (streams.includes(stream)) continue;
      player.srcObject = null;
      this.#players.delete(stream);
    }
    for (const stream of streams) {
      if (this.#players.has(stream)) continue;
      const player = new Audio();
      player.autoplay = true;
      player.srcObject = stream;
      this.#players.set(stream, player);
      this.#route(player);
      this.#begin(player);
    }
  }

  /** Call it from a press: starts what the browser held back. */
  unblock() {
    this.blocked = false;
    for (const player of this.#players.values()) this.#begin(player);
    this.changed();
  }

  /** @param {string} id device id, empty for the default */
  choose(id) {
    this.speakerId = id;
    for (const player of this.#players.values()) this.#route(player);
  }

  /** @param {HTMLAudioElement} player */
  async #route(player) {
    if (!('setSinkId' in player)) return;
    try {
      await player.setSinkId(this.speakerId);
    } catch (error) {
      console.warn('speaker not available, using the default', error);
    }
  }

  /** @param {HTMLAudioElement} player */
  async #begin(player) {
    try {
      await player.play();
    } catch (error) {
      if (/** @type {Error} */ (error).name !== 'NotAllowedError') return;  // replaced by a newer source: nothing to do
      this.blocked = true;
      this.changed();
    }
  }
}
