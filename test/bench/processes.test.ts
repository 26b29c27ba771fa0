import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { eventually } from '../harness/eventually.ts';
import { keepCoresAwake, pinning, processesOf } from './processes.ts';

const SCHED_IDLE = '5';

test('keeps each core awake by a process of the idle class, until it is told to stop', async () => {
  const before = new Set(processesOf(process.pid));
  const added = () => processesOf(process.pid).filter((pid) => !before.has(pid));
  const stop = keepCoresAwake();
  try {
    const expected = pinning === undefined ? 0 : 2;
    await eventually('each has the idle class', () => added().filter(isOfIdleClass).length === expected);
  } finally {
    stop();
  }
  await eventually('none is left', () => added().length === 0);
});

/** The policy is field 41 of `/proc/PID/stat`. The second field is the name in parentheses, which may contain spaces. */
function isOfIdleClass(pid: number): boolean {
  const [, afterName = ''] = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ');
  return afterName.split(' ')[41 - 3] === SCHED_IDLE;
}
