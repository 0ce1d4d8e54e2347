// Does what it must not, in the ways that JavaScript offers.

import { attributeText, decision, finding, plugin } from 'portcullis-guest';

let calls = 0;

const misbehaviours = {
  nothing: () => decision(),
  loop: () => {
    for (;;) calls += 1;
  },
  eat: () => {
    const eaten = [];
    for (;;) eaten.push(new Array(10_000).fill(eaten.length));
  },
  flood: () => decision({ findings: [finding('FLOOD', 'allow', { arguments: { text: 'x'.repeat(300 << 10) } })] }),
  throw: () => {
    throw new Error('the plugin says why');
  },
  crash: () => undefined.no.such,
  clock: () => decision({ risk: new Date().getTime() % 256 }),
  random: () => decision({ risk: Math.floor(Math.random() * 256) }),
  recurse: () => misbehaviours.recurse() + 1,
  remember: () => decision({ risk: (calls += 1) }),
  order: () => {
    const names = new Set(['b', 'a', 'c']);
    const language = [1234.5.toLocaleString(), 'ä'.localeCompare('z'), new Date(0).toString(), Object.keys({ b: 1, a: 2, 1: 3 })];
    return decision({ findings: [finding('ORDER', 'allow', { arguments: { names: [...names], language } })] });
  },
};

export const { configure, evaluate } = plugin({
  configure(settings) {
    if (settings.configure !== undefined) misbehaviours[settings.configure]();
    return settings;
  },
  evaluate(_, call) {
    return misbehaviours[attributeText(call.subject, 'status') ?? 'nothing']();
  },
});
