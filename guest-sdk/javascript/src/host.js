// What a plugin may ask its host for, in the sandbox: the contract's own functions. Natively
// `host-native.js` stands in their place.

export { lookup, lookupSubject } from 'portcullis:policy/reference@0.2.0';
export { count, countDistinct, forget, recall, remember, tally, tallyDistinct } from 'portcullis:policy/memory@0.2.0';
