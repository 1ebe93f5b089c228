// Entry of the booking pages: /book and /doctors/{slug}.

import '../shared.js';
import { preferredLanguage, setLanguage } from '../i18n.js';
import { BookPage } from './page.js';

await setLanguage(preferredLanguage());
await new BookPage(/** @type {HTMLElement} */ (document.getElementById('app'))).start();
