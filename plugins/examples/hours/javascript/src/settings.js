// The settings: their shape, and what must hold between their parts.

const TIME = /^([01][0-9]|2[0-3]):([0-5][0-9])$/;

const SHAPE = {
  terminated: ['string'],
  departments: [{ name: 'string', from: 'string', until: 'string', 'outside?': new Set(['step-up', 'review', 'deny']) }],
  'unlisted?': new Set(['abstain', 'step-up', 'review', 'deny']),
};

/** The settings, ready to be asked. */
export function shifts(settings, problems) {
  if (!problems.check(settings, SHAPE)) return undefined;
  if (settings.terminated.length === 0) problems.at('terminated', 'is empty: nobody would ever have left');
  if (settings.departments.length === 0) problems.at('departments', 'is empty: nobody would work here');
  const departments = new Map();
  settings.departments.forEach(({ name, from, until, outside = 'deny' }, index) => {
    const time = (member, text) => {
      const [, hours, minutes] = TIME.exec(text) ?? [];
      if (hours === undefined) problems.at(`departments[${index}].${member}`, 'is no time of day such as `07:30`');
      return Number(hours) * 60 + Number(minutes);
    };
    const shift = { name, from: time('from', from), until: time('until', until), outside };
    if (shift.from === shift.until) problems.at(`departments[${index}].until`, 'is the same as `from`');
    if (departments.has(name)) problems.at(`departments[${index}].name`, 'stands there twice');
    else departments.set(name, shift);
  });
  return { terminated: new Set(settings.terminated.map(lower)), departments, unlisted: settings.unlisted ?? 'deny' };
}

/** ASCII letters only: what they mean is the same in every language. */
export function lower(text) {
  return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}
