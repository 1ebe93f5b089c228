// The two HTTP calls that the pages make. Refusals come as problem+json (RFC 9457) and leave here as ApiError.

/** @typedef {{room: string, link: string, host_token?: string}} Room */

const HOST_TOKEN = 'wadud.host.';

export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} code the problem's `code`, else `http_<status>`
   * @param {string} detail
   */
  constructor(status, code, detail) {
    super(`${status} ${code}: ${detail}`);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
  }
}

/** @returns {Promise<Room>} a new room; its host token stays with this browser tab */
export async function createRoom() {
  /** @type {Room} */
  const room = await post('/v1/rooms', {});
  if (room.host_token) sessionStorage.setItem(HOST_TOKEN + room.room, room.host_token);
  return { ...room, link: new URL(room.link, location.href).href };
}

/**
 * @param {string} room
 * @param {string} name
 * @returns {Promise<string>} a token to join with; the host's one in the tab that made the room
 */
export async function fetchToken(room, name) {
  const hostToken = sessionStorage.getItem(HOST_TOKEN + room);
  const { token } = await post(`/v1/rooms/${encodeURIComponent(room)}/tokens`, { name }, hostToken);
  return token;
}

/**
 * @param {string} path
 * @param {unknown} body
 * @param {string | null} [bearer]
 */
async function post(path, body, bearer) {
  const answer = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(bearer ? { authorization: `Bearer ${bearer}` } : {}) },
    body: JSON.stringify(body),
  });
  if (answer.ok) return answer.json();
  const problem = await answer.json().catch(() => ({}));  // a proxy's own error page is no JSON
  throw new ApiError(answer.status, problem.code ?? `http_${answer.status}`, problem.detail ?? problem.title ?? '');
}
