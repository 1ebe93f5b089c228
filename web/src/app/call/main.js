// Entry of the call page: the room's name is the last part of the address.

import '../shared.js';
import { preferredLanguage, setLanguage } from '../i18n.js';
import { CallPage } from './page.js';

await setLanguage(preferredLanguage());
const room = decodeURIComponent(location.pathname.replace(/\/+$/, '').split('/').pop() ?? '');
const page = new CallPage(/** @type {HTMLElement} */ (document.getElementById('app')), room);
await page.start();
