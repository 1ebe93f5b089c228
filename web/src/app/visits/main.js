// Entry of the page of one's visits.

import '../shared.js';
import { preferredLanguage, setLanguage } from '../i18n.js';
import { VisitsPage } from './page.js';

await setLanguage(preferredLanguage());
await new VisitsPage(/** @type {HTMLElement} */ (document.getElementById('app'))).start();
