// Small bridges between templates and what HTML attributes cannot say. The pages are served with a content security policy
// that forbids inline styles, so numbers reach CSS as custom properties set from here.

import { Directive, directive } from 'lit-html/directive.js';
import { nothing } from 'lit-html';

class CssVariables extends Directive {
  /** @param {Record<string, string | number>} _values */
  render(_values) {
    return nothing;
  }

  /**
   * @param {any} part
   * @param {[Record<string, string | number>]} values
   */
  update(part, [values]) {
    for (const [name, value] of Object.entries(values)) part.element.style.setProperty(`--${name}`, String(value));
    return this.render(values);
  }
}

/** `<div ${cssVariables({ columns: 3 })}>` sets `--columns`. */
export const cssVariables = directive(CssVariables);

class Shows extends Directive {
  /** @param {MediaStream | null} _stream */
  render(_stream) {
    return nothing;
  }

  /**
   * @param {any} part
   * @param {[MediaStream | null]} values
   */
  update(part, [stream]) {
    if (part.element.srcObject !== stream) part.element.srcObject = stream;
    return this.render(stream);
  }
}

/** `<video ${shows(stream)}>`: a property binding would set the same stream at every drawing, which restarts the video. */
export const shows = directive(Shows);

class Chooses extends Directive {
  /** @param {string} _value */
  render(_value) {
    return nothing;
  }

  /**
   * @param {any} part
   * @param {[string]} values
   */
  update(part, [value]) {
    queueMicrotask(() => {  // behind the options
      if (part.element.value !== value) part.element.value = value;
    });
    return this.render(value);
  }
}

/** `<select ${chooses(value)}>`: which option is `selected` means nothing to a list that somebody has touched. */
export const chooses = directive(Chooses);

/**
 * Runs `render` once per frame at the most, however often it is asked.
 * @param {() => void} render
 */
export function oncePerFrame(render) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    const run = () => {
      asked = false;
      render();
    };
    if (document.visibilityState === 'hidden') setTimeout(run, 50);  // no frames come while hidden
    else requestAnimationFrame(run);
  };
}

/** @param {string} name @returns up to two letters to stand for a person, none for an empty name */
export function initials(name) {
  const words = name.trim().split(/\s+/).filter((word) => !/^(dr|mr|ms|mrs|prof|ڈاکٹر)\.?$/i.test(word));
  const letters = (words.length > 1 ? [words[0], words[words.length - 1]] : words).map((word) => [...word][0] ?? '');
  return letters.join(/[\u0600-\u06ff]/.test(name) ? '\u200c' : '').toUpperCase();
}

/**
 * Copies a text, also where the clipboard interface is missing (pages without https).
 * @param {string} text
 * @returns {Promise<boolean>} whether it worked
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement('textarea');
    field.value = text;
    field.className = 'visually-hidden';
    document.body.append(field);
    field.select();
    const copied = document.execCommand('copy');
    field.remove();
    return copied;
  }
}
