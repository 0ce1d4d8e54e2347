// Some of the decision, natively. All of it is in `../../suite.toml`, which runs on the component.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { call, configured, decide, refusal, sandboxed } from 'portcullis-guest/testing';

const settings = readFileSync(new URL('../../settings.example.json', import.meta.url), 'utf8');

// A plugin is configured once, so each test loads one of its own.
let copies = 0;
const load = () => import(`../src/plugin.js?copy=${(copies += 1)}`);

const signIn = () => call('okta.token').subject('u1').attribute('status', 'active').lifetime('access-token', 3600);

test('inside the hours a token ends with the shift', async () => {
  const plugin = configured(await load(), settings);
  const asked = signIn().attribute('department', 'pharmacy').received('2026-11-25T21:30:00Z').build();
  const decided = sandboxed(() => decide(plugin, asked));
  assert.equal(decided.verdict, 'allow');
  assert.deepEqual(decided.changes, [{ tag: 'cap-lifetime', val: { target: 'access-token', seconds: 1800 } }]);
});

test('outside them nobody gets one', async () => {
  const plugin = configured(await load(), settings);
  const asked = signIn().attribute('department', 'pharmacy').received('2026-11-25T22:00:00Z').build();
  assert.deepEqual(decide(plugin, asked).codes, ['HOURS_OUTSIDE']);
});

test('wrong settings are refused by path', async () => {
  const wrong = { terminated: ['left'], departments: [{ name: 'a', from: '24:00', until: '06:00' }] };
  assert.deepEqual(refusal(await load(), wrong), ['settings: `departments[0].from` is no time of day such as `07:30`']);
});
