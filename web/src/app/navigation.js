// The only way from a page to another one. An address that came from outside (a query, a link somebody pasted, an answer of
// the server) is resolved against our own origin and followed only if it stays there; a test holds the sources to it.
//
// What is handed on is the whole address, never its path: `/.//evil.example/x` is a path of ours, and once its dot segment
// is taken out the rest, `//evil.example/x`, names another host (RFC 3986 section 5.2.4).

/**
 * @param {string | null | undefined} wished an address, relative to this site
 * @param {string} [otherwise] a path of ours, for what is none
 * @returns {string} an address of this site, whole
 */
export function ownAddress(wished, otherwise = '/') {
  const fallback = new URL(otherwise, location.origin).href;
  if (!wished) return fallback;
  try {
    const url = new URL(wished, location.origin);
    return url.origin === location.origin && url.protocol === location.protocol ? url.href : fallback;
  } catch {
    return fallback;  // no address at all
  }
}

/** Where this page is to lead in the end, as its own address says. @param {string} otherwise a path of ours */
export const wishedNext = (otherwise) => ownAddress(new URLSearchParams(location.search).get('next'), otherwise);

/** The page for signing in, which leads back to `back`. @param {string} back */
export const signInPage = (back) => `/sign-in?next=${encodeURIComponent(back)}`;

/** @param {string} address of ours */
export const goTo = (address) => location.assign(ownAddress(address));

/** As `goTo`, without a step back to this page. @param {string} address of ours */
export const replaceWith = (address) => location.replace(ownAddress(address));
