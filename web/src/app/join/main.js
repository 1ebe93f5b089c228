// Entry of the visit page: /j/{clinic}#token, or /visits/{appointment} for somebody with an account.

import '../shared.js';
import { preferredLanguage, setLanguage } from '../i18n.js';
import { JoinPage } from './page.js';

await setLanguage(preferredLanguage());
await new JoinPage(/** @type {HTMLElement} */ (document.getElementById('app'))).start();
