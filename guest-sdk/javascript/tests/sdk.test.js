// The SDK itself: what it takes away, how it reads, how it says what is wrong.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Problems, attribute, attributeText, change, decision, finding, plugin, text, verdict } from '../src/index.js';
import { call, configured, decide, refusal, sandboxed } from '../src/testing.js';

const echo = () => plugin({ configure: (settings) => settings, evaluate: (state, { received }) => decide_(state, received) });
const decide_ = (state, received) => decision({ findings: [finding('ECHO', 'allow', { arguments: { state, received } })] });

test('configures once and then evaluates', () => {
  const exports = echo();
  assert.throws(() => decide(exports, call('okta.token').build()), /was not configured/);
  configured(exports, 'null');
  const { findings } = decide(exports, call('okta.token').received('2026-11-25T10:00:00Z').build());
  assert.deepEqual(findings[0].arguments, [{ name: 'state', value: 'null' }, { name: 'received', value: '1795600800000' }]);
  assert.deepEqual(refusal(exports, {}), ['settings: the plugin is configured already']);
});

test('what is thrown is told as a sentence, and wrong settings configure nothing', () => {
  const failing = plugin({
    configure(settings, problems) {
      if (settings.crash) return settings.no.such;
      problems.check(settings, { name: 'string' });
    },
    evaluate(state, { subject }) {
      return subject.id.length;
    },
  });
  assert.match(refusal(failing, '{')[0], /^settings: SyntaxError/);
  assert.match(refusal(failing, { crash: true })[0], /^settings: TypeError/);
  assert.deepEqual(refusal(failing, { nam: 1 }), ['settings: `nam` is no setting', 'settings: `name` is missing']);
  configured(failing, { name: 'x' });
  assert.throws(() => failing.evaluate(call('okta.token').build()), (thrown) => /^TypeError: /.test(thrown));
});

test('shapes name what is wrong by its path', () => {
  const problems = new Problems();
  const shape = { list: [{ name: 'string', 'kind?': new Set(['a', 'b']), 'count?': 'integer' }], 'on?': 'boolean' };
  assert.ok(problems.check({ list: [{ name: '' }] }, shape));
  assert.ok(!problems.check({ list: [{ name: 1 }, { name: '', kind: 'c', count: 1.5 }, null], on: 0 }, shape));
  assert.deepEqual(problems.sentences, [
    'settings: `list[0].name` is no string',
    'settings: `list[1].kind` is none of a, b',
    'settings: `list[1].count` is no whole number',
    'settings: `list[2]` is no object',
    'settings: `on` is no boolean',
  ]);
  const many = new Problems();
  for (let index = 0; index < 60; index += 1) many.at(`a[${index}]`, 'is wrong');
  assert.equal(many.sentences.length, 51);
  assert.equal(many.sentences[50], 'settings: and 10 more problems');
});

test('text is only a string', () => {
  assert.equal(text('"a"'), 'a');
  for (const other of ['', '"', 'a', '1', 'null', '["a"]', '"\\ud800"', undefined]) assert.equal(text(other), undefined);
  const who = { attributes: [{ name: 'a', value: 'null' }, { name: 'b', value: '["x"]' }] };
  assert.equal(attribute(who, 'a'), undefined);
  assert.deepEqual(attribute(who, 'b'), ['x']);
  assert.equal(attributeText(who, 'b'), undefined);
  assert.equal(attribute(undefined, 'b'), undefined);
});

test('the strictest finding is the verdict', () => {
  assert.equal(verdict(decision()), 'abstain');
  assert.equal(verdict({ findings: ['review', 'deny', 'allow'].map((effect) => finding('A', effect)) }), 'deny');
  assert.deepEqual(change.capLifetime('id-token', 300), { tag: 'cap-lifetime', val: { target: 'id-token', seconds: 300 } });
});

test('no clock and no randomness', () => {
  sandboxed(() => {
    for (const impure of [Math.random, Date.now, () => new Date(), () => Date(), () => performance.now(), () => crypto.randomUUID()]) {
      assert.throws(impure, /a plugin has no (clock|randomness)/);
    }
    assert.equal(new Date(0).toISOString(), '1970-01-01T00:00:00.000Z');
    assert.ok(new Date(0) instanceof Date);
    assert.equal(new Date(0).constructor, Date);
    assert.equal(Date.UTC(1970, 0, 2), 86_400_000);
  });
  assert.ok(Date.now() > 0 && Math.random() >= 0 && crypto.randomUUID() && new Date());
});
