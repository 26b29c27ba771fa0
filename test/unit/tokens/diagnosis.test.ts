import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { addDiagnosis } from '../../../src/tokens/diagnosis.ts';

const KNOWN = { finding: 'client_refused', cause: 'the client is refused', fix: 'compare the secret' };
const failure = () => new CambistError('ERR_CLIENT_REFUSED', 'refused');

test('adds the diagnosis of the catalogue to an error, once', async () => {
  const error = failure();
  await addDiagnosis(
    error,
    async () => 'catalogue',
    (catalogue) => ({ ...KNOWN, cause: catalogue }),
  );
  await addDiagnosis(
    error,
    async () => 'another',
    (catalogue) => ({ ...KNOWN, cause: catalogue }),
  );
  assert.equal(error.diagnosis?.cause, 'catalogue');
});

test('leaves the error as it is if nothing can explain it', async () => {
  const error = failure();
  const broken = () => {
    throw new TypeError('a bug');
  };
  await addDiagnosis(error, async () => 'catalogue', broken);
  await addDiagnosis(
    error,
    () => Promise.reject(new Error('no such file')),
    () => KNOWN,
  );
  await addDiagnosis(error, undefined, () => KNOWN);
  await addDiagnosis(
    error,
    async () => 'catalogue',
    () => undefined,
  );
  assert.equal(error.diagnosis, undefined);
  const other = new Error('not of cambist');
  await addDiagnosis(
    other,
    async () => 'catalogue',
    () => KNOWN,
  );
  assert.deepEqual(Object.keys(other), []);
});
