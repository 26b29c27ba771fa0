import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { AuditRecord } from '../../src/audit/record-schema.ts';
import { recordLogged } from './leaks.ts';

type Event = AuditRecord['event'];
type RecordOf<E extends Event> = Extract<AuditRecord, { event: E }>;

const ajv = new Ajv2020({ strict: false, formats: { 'date-time': true } });
const isRecord = ajv.compile(JSON.parse(readFileSync('config/audit.schema.json', 'utf8')));

/** Parses lines of the audit trail, and checks each against the published schema. */
export function parseRecords(text: string): AuditRecord[] {
  recordLogged(text);
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const record = JSON.parse(line) as AuditRecord;
      assert.ok(isRecord(record), `${line}: ${ajv.errorsText(isRecord.errors)}`);
      return record;
    });
}

export function readRecords(path: string): AuditRecord[] {
  try {
    return parseRecords(readFileSync(path, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

export function recordsOf<E extends Event>(event: E, all: readonly AuditRecord[]): RecordOf<E>[] {
  return all.filter((record): record is RecordOf<E> => record.event === event);
}
