// Dates, zones, shifts and holidays: the vectors that all SDKs share.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import {
  Holidays,
  TZDB,
  addDays,
  addMonths,
  holidayInTable,
  parseDate,
  parseInstant,
  shift,
  weekday,
  zone,
} from '../src/calendar.js';
import { Problems } from '../src/index.js';
import { reset, sandboxed, setTable } from '../src/testing.js';

const vectors = JSON.parse(await readFile(new URL('../../calendar/vectors.json', import.meta.url), 'utf8'));

/** The vectors of a name, with the zone in place of its name. */
function cases(name, least) {
  assert.ok(vectors[name].length >= least, name);
  const zones = new Map();
  return vectors[name].map(([first, ...rest]) => {
    if (!zones.has(first)) zones.set(first, zone(first));
    return [zones.get(first), ...rest];
  });
}

/** `2026-11-30T17:00:00.250`, as the vectors spell it. */
function spelled({ date, hour, minute, second, millisecond }) {
  const padded = (number, width = 2) => String(number).padStart(width, '0');
  return `${date}T${padded(hour)}:${padded(minute)}:${padded(second)}.${padded(millisecond, 3)}`;
}

/** Seconds east of UTC, from what a zone shows. */
function offset(found, second) {
  return Date.parse(`${spelled(found.local(second * 1_000))}Z`) / 1_000 - second;
}

test('dates are read and computed with', () => {
  assert.ok(vectors.dates.length > 60);
  for (const [text, day, days, later, months, moved] of vectors.dates) {
    assert.equal(parseDate(text), text);
    assert.equal(weekday(text), day, text);
    assert.equal(addDays(text, days) ?? null, later, `${text} ${days}`);
    assert.equal(addMonths(text, months) ?? null, moved, `${text} ${months}`);
  }
  for (const text of [...vectors.refused_dates, undefined, null, 20261130, ['2026-11-30']]) {
    assert.equal(parseDate(text), undefined, text);
  }
  assert.equal(addDays('2026-01-01', 1e12), undefined);
  assert.equal(addDays('2026-01-01', NaN), undefined);
  assert.equal(addMonths('2026-01-01', NaN), undefined);
});

test('instants are read', () => {
  assert.ok(vectors.instants.length > 10);
  for (const [text, millis] of vectors.instants) assert.equal(parseInstant(text), millis, text);
  for (const text of [...vectors.refused_instants, undefined, 0]) assert.equal(parseInstant(text), undefined, text);
});

test('every zone of the database is there', () => {
  assert.deepEqual([TZDB], vectors.tzdb);
  assert.deepEqual(vectors.zones.map(([name]) => name), vectors.names[0].split(' '));
  for (const [name, total] of vectors.zones) {
    let [state, own] = [1, 0];
    const found = zone(name);
    for (let sample = 0; sample < 500; sample += 1) {
      state = (state * 16_807) % 2_147_483_647;
      const second = 86_400 + ((state * 2) % 4_133_894_400);
      own = (own * 31 + offset(found, second) + 86_400) % 1_000_003;
    }
    assert.equal(own, total, name);
  }
  for (const name of [...vectors.refused_zones, undefined, 1]) assert.equal(zone(name), undefined, name);
});

test('every change of the chosen zones', () => {
  for (const [found, ...numbers] of cases('changes', 20)) {
    for (let at = 0; at < numbers.length; at += 2) {
      assert.equal(offset(found, numbers[at]), numbers[at + 1], `${found.name} ${numbers[at]}`);
      assert.notEqual(offset(found, numbers[at] - 1), numbers[at + 1], `${found.name} ${numbers[at]}`);
    }
  }
});

test('instants and local times', () => {
  for (const [found, millis, local] of [...cases('locals', 200), ...cases('inside', 2)]) {
    assert.equal(spelled(found.local(millis)), local, found.name);
  }
  for (const [found, local, millis] of cases('to_instants', 200)) {
    const [hour, minute, second, millisecond] = local.slice(11).split(/[:.]/).map(Number);
    const date = local.slice(0, 10);
    assert.equal(found.instant({ date, hour, minute, second, millisecond }), millis, `${found.name} ${local}`);
  }
  for (const [found, millis] of cases('outside', 4)) assert.equal(found.local(millis), undefined, `${found.name} ${millis}`);
  const [utc, before] = [zone('UTC'), '1969-12-31'];
  assert.deepEqual([utc.instant({ date: before }), utc.startOfDay(before), utc.endOfDay(before)], Array(3).fill(undefined));
  assert.equal(utc.local(NaN), undefined);
  assert.equal(utc.local(Infinity), undefined);
});

test('days begin and end', () => {
  for (const [found, day, start, end] of [...cases('days', 200), ...cases('last_days', 2)]) {
    assert.deepEqual([found.startOfDay(day), found.endOfDay(day)], [start, end], `${found.name} ${day}`);
  }
});

test('shifts go over midnight and changes of clocks', () => {
  for (const [found, millis, begin, end, day] of cases('shifts', 200)) {
    const began = found.shiftDay(millis, shift(begin, end)) ?? null;
    assert.equal(began, day, `${found.name} ${millis} ${begin} ${end}`);
  }
  for (const [begin, end] of [...vectors.refused_shifts, [undefined, '06:00'], ['06:00', 7]]) {
    assert.equal(shift(begin, end), undefined, `${begin} ${end}`);
  }
  assert.equal(zone('UTC').shiftDay(-1, shift('00:00', '24:00')), undefined);
});

test('holidays stand in settings or in a table', () => {
  const problems = new Problems();
  const holidays = new Holidays(['2026-04-03', '12-25', '02-29', '2026-02-29', '1-1', '13-01', 7], problems);
  const days = { '2026-04-03': true, '2027-04-03': false, '2030-12-25': true, '2028-02-29': true, '2026-02-28': false };
  for (const [day, known] of Object.entries(days)) assert.equal(holidays.has(day), known, day);
  const wrong = 'is no day, such as `2026-12-25`, or `12-25` for every year';
  assert.deepEqual(problems.sentences, [3, 4, 5, 6].map((index) => `settings: \`holidays[${index}]\` ${wrong}`));
  const others = new Problems();
  new Holidays('2026-04-03', others, 'closed.days');
  assert.deepEqual(others.sentences, ['settings: `closed.days` is no array']);
  setTable('closed', [{ key: '2026-04-03', columns: { name: 'Good Friday' } }]);
  assert.ok(holidayInTable('closed', '2026-04-03'));
  assert.ok(!holidayInTable('closed', '2026-04-04'));
  reset();
});

test('neither the clock nor `Intl` is used', () => {
  const { Intl: intl } = globalThis;
  try {
    delete globalThis.Intl;
    const shown = sandboxed(() => zone('Europe/Berlin').local(1_796_079_600_000));
    assert.deepEqual(shown, { date: '2026-12-01', hour: 0, minute: 0, second: 0, millisecond: 0 });
  } finally {
    globalThis.Intl = intl;
  }
});
