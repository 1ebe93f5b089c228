// Where an address that came from outside may lead: to our own pages.

import assert from 'node:assert/strict';
import { test } from 'node:test';

const went = [];
const page = new URL('https://call.example.org/sign-in');
globalThis.location = {
  get href() { return page.href; },
  get origin() { return page.origin; },
  get protocol() { return page.protocol; },
  get search() { return page.search; },
  assign: (address) => went.push(['assign', address]),
  replace: (address) => went.push(['replace', address]),
};
const { goTo, ownAddress, replaceWith, signInPage, wishedNext } = await import('../../web/src/app/navigation.js');

const FOREIGN = [
  '//evil.example/x', '///evil.example/x', '/\\evil.example/x', '\\\\evil.example', '/\t/evil.example/x', 'https://evil.example/',
  'https:evil.example', 'http://call.example.org/', 'https://call.example.org:444/', 'https://call.example.org@evil.example/',
  'https://call.example.org.evil.example/', 'javascript:alert(1)', 'data:text/html,x', 'blob:https://call.example.org/x',
  'otpauth://totp/x', 'https://[abc', '\u0000javascript:alert(1)',
];

for (const wished of FOREIGN) {
  test(`${JSON.stringify(wished)} is not followed`, () => {
    const found = new URL(ownAddress(wished, '/visits'));
    assert.equal(found.origin, 'https://call.example.org');
    if (!wished.startsWith('https:evil')) assert.equal(found.href, 'https://call.example.org/visits');
  });
}

for (const wished of ['/.//evil.example/x', '/..//evil.example/x', '/%2e//evil.example/x', '/a/../..//evil.example/x']) {
  test(`${wished} stays with us as it is resolved, and when what came out is resolved again`, () => {
    const once = ownAddress(wished);
    assert.equal(new URL(once).host, 'call.example.org');
    assert.equal(new URL(once, location.origin).host, 'call.example.org');
    assert.equal(new URL(ownAddress(once), location.origin).host, 'call.example.org');
  });
}

test('our own pages are followed with query and fragment', () => {
  assert.equal(ownAddress('/visits/1?x=%2F#enter'), 'https://call.example.org/visits/1?x=%2F#enter');
  assert.equal(ownAddress('https://call.example.org/book'), 'https://call.example.org/book');
  assert.equal(ownAddress(null, '/visits'), 'https://call.example.org/visits');
  assert.equal(ownAddress(''), 'https://call.example.org/');
});

test('what a page hands on to the next survives the way there and back', () => {
  const sign = new URL(signInPage('/.//evil.example/x'), location.origin);
  page.search = sign.search;
  assert.equal(new URL(wishedNext('/visits')).host, 'call.example.org');
  page.search = '';
  assert.equal(wishedNext('/visits'), 'https://call.example.org/visits');
});

test('going somewhere looks at the address once more', () => {
  goTo('//evil.example/x');
  replaceWith('/account');
  assert.deepEqual(went, [['assign', 'https://call.example.org/'], ['replace', 'https://call.example.org/account']]);
});
