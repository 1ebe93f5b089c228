// The picture on the home page: a consultation in flat shapes, coloured by the theme.

import { html } from 'lit-html';

export const hero = html`
  <svg class="hero-art" viewBox="0 0 560 440" aria-hidden="true" focusable="false">
    <circle class="halo" cx="300" cy="214" r="196"></circle>
    <circle class="halo-inner" cx="300" cy="214" r="142"></circle>
    <rect class="screen" x="76" y="62" width="408" height="300" rx="28"></rect>
    <clipPath id="hero-scene"><rect x="90" y="76" width="380" height="272" rx="18"></rect></clipPath>
    <g clip-path="url(#hero-scene)">
      <rect class="wall" x="90" y="76" width="380" height="272"></rect>
      <rect class="shelf" x="118" y="112" width="84" height="108" rx="8"></rect>
      <path class="shelf-line" d="M118 148h84M118 184h84"></path>
      <rect class="book-a" x="128" y="124" width="10" height="24" rx="2"></rect><rect class="book-b" x="142" y="128" width="9" height="20" rx="2"></rect>
      <rect class="book-b" x="128" y="160" width="10" height="24" rx="2"></rect><rect class="book-a" x="172" y="162" width="9" height="22" rx="2"></rect>
      <path class="plant" d="M424 236c-4-30-24-40-36-42 2 22 14 38 36 42zm2-2c2-34 20-48 34-52 2 26-10 46-34 52zm-1 4v44"></path>
      <path class="pot" d="M406 278h38l-6 40h-26z"></path>
      <path class="coat" d="M168 360c2-66 38-96 104-96s102 30 104 96z"></path>
      <path class="shirt" d="M242 266l30 50 30-50c-9-3-19-4-30-4s-21 1-30 4z"></path>
      <path class="neck" d="M254 226h36v34c0 10-8 18-18 18s-18-8-18-18z"></path>
      <path class="skin" d="M226 176c0-30 20-48 46-48s46 18 46 48c0 36-20 66-46 66s-46-30-46-66z"></path>
      <path class="hair" d="M220 186c-6-46 18-76 54-76 34 0 58 28 50 76-4-22-16-34-30-40-20 12-48 14-62 12-6 6-10 14-12 28z"></path>
      <path class="smile" d="M256 208c8 9 24 9 32 0"></path><circle class="eye" cx="255" cy="182" r="3.5"></circle><circle class="eye" cx="289" cy="182" r="3.5"></circle>
      <path class="scope" d="M236 270c-4 34 4 52 18 58M308 270c4 26 2 42-4 54"></path><circle class="scope-end" cx="304" cy="330" r="8"></circle>
    </g>
    <g class="pip">
      <rect class="pip-frame" x="386" y="230" width="136" height="160" rx="22"></rect>
      <clipPath id="hero-pip"><rect x="394" y="238" width="120" height="144" rx="15"></rect></clipPath>
      <g clip-path="url(#hero-pip)">
        <rect class="pip-wall" x="394" y="238" width="120" height="144"></rect>
        <path class="pip-body" d="M402 392c0-42 20-60 52-60s52 18 52 60z"></path>
        <path class="pip-neck" d="M444 312h20v24a10 10 0 0 1-20 0z"></path>
        <circle class="pip-skin" cx="454" cy="296" r="27"></circle>
        <path class="pip-hair" d="M424 300c-4-28 10-44 31-44 22 0 34 18 29 42-6-10-10-14-14-20-12 8-30 8-38 8-4 4-6 8-8 14z"></path>
        <path class="smile" d="M446 307c5 5 12 5 17 0"></path><circle class="eye" cx="445" cy="296" r="2.4"></circle><circle class="eye" cx="464" cy="296" r="2.4"></circle>
      </g>
    </g>
    <g class="pills">
      <rect class="pill" x="150" y="328" width="196" height="60" rx="30"></rect>
      <circle class="pill-button" cx="184" cy="358" r="19"></circle><circle class="pill-button" cx="230" cy="358" r="19"></circle>
      <rect class="pill-leave" x="262" y="339" width="66" height="38" rx="19"></rect>
      <path class="pill-icon" d="M184 350v9M178.5 358a5.5 5.5 0 0 0 11 0M184 364v3M222 353h10v10h-10zM232 357l6-3v8l-6-3"></path>
      <path class="pill-icon light" d="M284 361c7-6 15-6 22 0"></path>
    </g>
    <g class="badge">
      <rect class="badge-box" x="44" y="120" width="104" height="46" rx="23"></rect>
      <path class="badge-bars" d="M68 150v-5M76 150v-10M84 150v-15M92 150v-20"></path><path class="badge-check" d="m106 143 6 6 12-13"></path>
    </g>
  </svg>`;
