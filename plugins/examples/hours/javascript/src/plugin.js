// Working hours and leavers: who may sign in when, and until when. The same decision as in the folders beside this one.
//
// Invariants:
// - Whoever has left, or of whom that is not known, gets no token.
// - No token outlives the shift that it was asked for in.
// - The clock is the call's. Hours are UTC, so that an answer means the same everywhere, for good.

import { attributeText, change, decision, finding, plugin } from 'portcullis-guest';

import { lower, shifts } from './settings.js';

const MINUTE = 60_000;
const DAY = 24 * 60;

export const { configure, evaluate } = plugin({ configure: shifts, evaluate: judge });

function judge({ terminated, departments, unlisted }, call) {
  const status = attributeText(call.subject, 'status');
  if (status === undefined) return one('HOURS_STATUS_MISSING', 'deny', 'high');
  if (terminated.has(lower(status))) return one('HOURS_TERMINATED', 'deny', 'critical', { status });
  const shift = departments.get(attributeText(call.subject, 'department'));
  if (shift === undefined) {
    return unlisted === 'abstain' ? decision() : one('HOURS_NO_DEPARTMENT', unlisted, 'medium');
  }
  const name = { department: shift.name, from: clock(shift.from), until: clock(shift.until) };
  const left = secondsLeft(shift, call.received);
  if (left <= 0) {
    const now = clock(Math.floor(call.received / MINUTE) % DAY);
    return one('HOURS_OUTSIDE', shift.outside, 'medium', { ...name, now });
  }
  const tooLong = call.lifetimes.filter(({ seconds }) => seconds > left);
  if (tooLong.some(({ least }) => left < least)) {
    return one('HOURS_ENDING', 'deny', 'low', { ...name, seconds: left });
  }
  const inside = finding('HOURS_INSIDE', 'allow', { arguments: name });
  return decision({ findings: [inside], changes: tooLong.map(({ target }) => change.capLifetime(target, left)) });
}

/** The seconds that are left of the shift; none or less outside it. */
function secondsLeft({ from, until }, received) {
  const day = DAY * 60;
  const length = (until * 60 + day - from * 60) % day;
  const gone = ((Math.floor(received / 1_000) % day) + day - from * 60) % day;
  return length - gone;
}

function one(code, effect, severity, filled) {
  return decision({ findings: [finding(code, effect, { severity, arguments: filled })] });
}

/** Minutes since midnight as `HH:MM`. */
function clock(minutes) {
  return [Math.floor(minutes / 60), minutes % 60].map((part) => String(part).padStart(2, '0')).join(':');
}
