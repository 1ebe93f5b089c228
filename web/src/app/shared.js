// What most pages need. Every page's entry imports this list, so esbuild puts all of it into one file that all pages have in
// common; without it each set of pages that share a module would make a file, and on a slow network each file is a round trip.

import 'lit-html';
import 'lit-html/directives/live.js';
import 'lit-html/directives/repeat.js';
import './announce.js';
import './api.js';
import './calendar-file.js';
import './call/chime.js';
import './dom.js';
import './frame.js';
import './http.js';
import './i18n.js';
import './icons.js';
import './live.js';
import './navigation.js';
import './passkeys.js';
import './session.js';
import './site.js';
import './visit-seat.js';
import './when.js';
