// The SDK itself: what it takes away, how it reads, how it says what is wrong.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  Problems,
  attribute,
  attributeText,
  change,
  column,
  count,
  countDistinct,
  decision,
  finding,
  forget,
  lookup,
  lookupSubject,
  plugin,
  recall,
  remember,
  tally,
  tallyDistinct,
  text,
  verdict,
} from '../src/index.js';
import { call, configured, decide, enter, refusal, reset, sandboxed, setTable } from '../src/testing.js';

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

test('tables are found by key, by network and by subject', () => {
  setTable('roster', [
    { key: '4711', subject: 'u1', columns: { ward: 'north', beds: 7 } },
    { key: '4711', columns: { ward: 'south' } },
  ]);
  assert.deepEqual(lookup('roster', '4711').rows.map((row) => column(row, 'ward')), ['north', 'south']);
  assert.deepEqual(lookup('roster', '4712').rows, []);
  enter(call('okta.token').subject('u1').build());
  const own = lookupSubject('roster');
  assert.equal(own.matched, 'one');
  assert.equal(column(own.rows[0], 'beds'), 7);
  assert.equal(column(own.rows[0], 'none'), undefined);
  enter(call('okta.token').subject('u2').build());
  assert.equal(lookupSubject('roster').matched, 'none');

  const networks = ['10.0.0.0/8', '10.1.0.0/16', 'fd00::/8'].map((key) => ({ key, columns: { key } }));
  setTable('networks', networks, { stale: true });
  const found = (ip) => lookup('networks', ip).rows.map((row) => column(row, 'key'));
  assert.deepEqual(found('10.1.2.3'), ['10.1.0.0/16']);
  assert.deepEqual(found('10.2.2.3'), ['10.0.0.0/8']);
  assert.deepEqual(found('fd00::1'), ['fd00::/8']);
  assert.deepEqual(found('11.2.2.3'), []);
  assert.deepEqual(found('::1'), []);
  assert.equal(lookup('networks', '::1').stale, true);
  assert.throws(() => lookup('none', '1'), /no table `none`/);
  reset();
});

test('memory is a subject\'s own or shared, and ends', () => {
  const at = (id, millis) => enter(call('okta.token').subject(id).received(millis).build());
  at('u1', 1_000);
  remember('subject', 'last', new Uint8Array([1]), 10);
  assert.equal(tally('shared', 'tries', 60), 1);
  assert.equal(tallyDistinct('shared', 'who', 'u1', 60), 1);
  at('u2', 2_000);
  assert.equal(recall('subject', 'last'), undefined);
  assert.equal(tally('shared', 'tries', 60), 2);
  assert.equal(tallyDistinct('shared', 'who', 'u1', 60), 1);
  assert.equal(tallyDistinct('shared', 'who', 'u2', 60), 2);
  assert.equal(countDistinct('shared', 'who', 60), 2);
  assert.equal(countDistinct('subject', 'who', 60), 0);
  at('u1', 10_999);
  assert.deepEqual(recall('subject', 'last'), new Uint8Array([1]));
  at('u1', 11_000);
  assert.equal(recall('subject', 'last'), undefined);
  at('u1', 61_500);
  assert.equal(count('shared', 'tries', 60), 1);
  assert.equal(count('shared', 'tries', 61), 2);
  remember('shared', 'tries', new Uint8Array([1]), 10);
  forget('shared', 'tries');
  assert.equal(recall('shared', 'tries'), undefined);
  assert.equal(count('shared', 'tries', 60), 1);
  enter(call('okta.token').build());
  assert.throws(() => recall('subject', 'last'), /no subject/);
  reset();
});
