// Only people of one department get a token, and no long one.
//
// A template: replace it with your own policy.

import { attributeText, change, decision, finding, plugin } from 'portcullis-guest';

// What the operator decides. The manifest's settings.schema.json says the same to people and editors.
const SETTINGS = { department: 'string', longest_seconds: 'integer' };

export const { configure, evaluate } = plugin({
  // Once, when a release is activated. What it gives back is kept in a snapshot, and every call begins with it.
  configure(settings, problems) {
    if (problems.check(settings, SETTINGS) && settings.department === '') {
      problems.at('department', 'is empty: nobody would get in');
    }
    return settings;
  },

  // Once a call, in an instance of its own. What it throws is its failure; a refusal is a finding with the effect `deny`.
  evaluate({ department, longest_seconds }, call) {
    if (attributeText(call.subject, 'department') !== department) {
      return decision({
        findings: [finding('OTHER_DEPARTMENT', 'deny', { severity: 'medium', arguments: { department } })],
      });
    }
    const tooLong = call.lifetimes.filter(({ seconds }) => seconds > longest_seconds);
    return decision({
      findings: [finding('RIGHT_DEPARTMENT', 'allow')],
      changes: tooLong.map(({ target, least }) => change.capLifetime(target, Math.max(longest_seconds, least))),
    });
  },
});
