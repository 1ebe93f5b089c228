// Entry of the page of one's account.

import '../shared.js';
import { preferredLanguage, setLanguage } from '../i18n.js';
import { AccountPage } from './page.js';

await setLanguage(preferredLanguage());
await new AccountPage(/** @type {HTMLElement} */ (document.getElementById('app'))).start();
