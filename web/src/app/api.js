// The two calls of the pages for free rooms: make one, get a token for one. They are signalling's (docs/protocol.md), which /openapi.json does not tell.

import { ask } from './http.js';

/** @typedef {{room: string, link: string, host_token?: string}} Room */

const HOST_TOKEN = 'wadud.host.';

/** @returns {Promise<Room>} a new room; its host token stays with this browser tab */
export async function createRoom() {
  /** @type {Room} */
  const room = await ask('POST', '/v1/rooms', { body: {}, anonymous: true });
  if (room.host_token) sessionStorage.setItem(HOST_TOKEN + room.room, room.host_token);
  return { ...room, link: new URL(room.link, location.href).href };
}

/**
 * @param {string} room
 * @param {string} name
 * @returns {Promise<string>} a token to join with; the host's one in the tab that made the room
 */
export async function fetchToken(room, name) {
  const bearer = sessionStorage.getItem(HOST_TOKEN + room) ?? undefined;
  const { token } = await ask('POST', `/v1/rooms/${encodeURIComponent(room)}/tokens`, { body: { name }, anonymous: true, bearer });
  return token;
}
