// Entry of the page on which one asks for a doctor now.

import '../shared.js';
import { preferredLanguage, setLanguage } from '../i18n.js';
import { NowPage } from './page.js';

await setLanguage(preferredLanguage());
await new NowPage(/** @type {HTMLElement} */ (document.getElementById('app'))).start();
