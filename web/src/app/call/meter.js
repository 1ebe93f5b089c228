// Loudness of a microphone, for the meter of the device check.

/** Below this a room is silent, above the other end people shout: dB relative to full scale. */
const SILENT_DB = -55;
const LOUD_DB = -12;

export class AudioMeter {
  /** @type {AudioContext | null} */
  #context = null;
  #frame = 0;

  /** @param {(level: number) => void} onLevel 0 to 1, once per picture frame (four times a second with reduced motion) */
  constructor(onLevel) {
    this.onLevel = onLevel;
  }

  /** @param {MediaStreamTrack | null} track null stops */
  watch(track) {
    this.stop();
    if (!track) return;
    const context = new AudioContext();
    this.#context = context;
    const analyser = new AnalyserNode(context, { fftSize: 1024, smoothingTimeConstant: 0.5 });
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    let shown_ms = 0;
    let level = 0;
    const measure = (/** @type {number} */ now_ms) => {
      this.#frame = requestAnimationFrame(measure);
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
      const loudness = (10 * Math.log10(power + 1e-12) - SILENT_DB) / (LOUD_DB - SILENT_DB);
      level = Math.max(Math.min(1, Math.max(0, loudness)), level * 0.9);
      if (calm && now_ms - shown_ms < 250) return;
      shown_ms = now_ms;
      this.onLevel(level);
    };
    this.#frame = requestAnimationFrame(measure);
    this.resume();
  }

  /** Browsers may hold sound back until the person touches the page: call this from such an event. */
  resume() {
    if (this.#context?.state === 'suspended') this.#context.resume();
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    this.#context?.close();
    this.#context = null;
    this.onLevel(0);
  }
}
