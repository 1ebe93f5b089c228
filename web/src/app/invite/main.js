// Entry of the page that an invitation leads to.

import '../shared.js';
import { preferredLanguage, setLanguage } from '../i18n.js';
import { InvitePage } from './page.js';

await setLanguage(preferredLanguage());
await new InvitePage(/** @type {HTMLElement} */ (document.getElementById('app'))).start();
