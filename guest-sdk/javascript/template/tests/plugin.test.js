// The plugin natively: `npm install`, then `npm test`. `portcullis plugin test` tries the component itself with suite.toml.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { call, configured, decide, refusal } from 'portcullis-guest/testing';

// A plugin is configured once, so each test loads one of its own.
let copies = 0;
const load = () => import(`../src/plugin.js?copy=${(copies += 1)}`);
const settings = { department: 'pharmacy', longest_seconds: 3600 };
const signIn = () => call('okta.token').subject('u1').lifetime('access-token', 7200);

test('others are denied', async () => {
  const plugin = configured(await load(), settings);
  assert.equal(decide(plugin, signIn().build()).verdict, 'deny');
  assert.deepEqual(decide(plugin, signIn().attribute('department', 'kitchen').build()).codes, ['OTHER_DEPARTMENT']);
});

test('long tokens are shortened', async () => {
  const plugin = configured(await load(), settings);
  const { verdict, changes } = decide(plugin, signIn().attribute('department', 'pharmacy').build());
  assert.equal(verdict, 'allow');
  assert.deepEqual(changes, [{ tag: 'cap-lifetime', val: { target: 'access-token', seconds: 3600 } }]);
});

test('wrong settings are refused by path', async () => {
  const problems = refusal(await load(), { department: '', longest_seconds: 300 });
  assert.deepEqual(problems, ['settings: `department` is empty: nobody would get in']);
});
