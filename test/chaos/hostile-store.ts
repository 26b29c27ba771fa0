import { setTimeout as delay } from 'node:timers/promises';
import type { StorePrograms } from '../external/store/programs.ts';
import { startStore } from '../external/store/store-process.ts';
import { startTcpProxy } from '../external/store/tcp-proxy.ts';
import type { Lifetime } from '../harness/lifetime.ts';
import type { Random } from '../harness/random.ts';

export type HostileStore = Awaited<ReturnType<typeof startHostileStore>>;

/** Between two faults. */
const CALM_MS = 3000;
const LONGEST_FAULT_MS = 1200;
/** Between two forgeries. */
const FORGE_MS = 150;

/**
 * Moves, damages and keeps values. ARGV: a number that chooses. Replies how many values were touched.
 * Anyone with the right to write can do this.
 */
const FORGE = `
local keys = redis.call('KEYS', '*')
local strings = {}
for _, name in ipairs(keys) do
  if redis.call('TYPE', name).ok == 'string' then strings[#strings + 1] = name end
end
table.sort(strings)
if #strings < 2 then return 0 end
local seed = tonumber(ARGV[1])
local first = strings[seed % #strings + 1]
local second = strings[(seed * 7 + 1) % #strings + 1]
local kind = seed % 4
if kind == 0 then
  local a, b = redis.call('GET', first), redis.call('GET', second)
  redis.call('SET', first, b, 'PX', 60000)
  redis.call('SET', second, a, 'PX', 60000)
  return 2
elseif kind == 1 then
  for _, name in ipairs(strings) do redis.call('PERSIST', name) end
  return #strings
elseif kind == 2 then
  redis.call('SETRANGE', first, seed % 40, 'x')
  return 1
end
redis.call('SET', first, string.rep('x', seed % 100000), 'PX', 60000)
return 1
`;

/** A real store that is slow, silent, stopped, killed, full, read-only, and that shows its values at the wrong places. */
export async function startHostileStore(t: Lifetime, programs: StorePrograms, random: Random) {
  const store = await startStore(t, { programs });
  const network = await startTcpProxy(t, store.port);
  let isClosing = false;
  const hostile = {
    port: network.port,
    /** False: it serves. */
    misbehaves: false,
    faults: 0,
    /** Values that it moved to other keys, changed, or kept beyond their time. */
    forged: 0,
  };
  const ask = (...command: string[]): Promise<string> => store.ask(...command).catch(() => '');

  /** Each starts a fault, and returns what ends it. */
  const faults: readonly (() => Promise<() => unknown>)[] = [
    async () => {
      network.delayMs = random.int(400);
      return () => {
        network.delayMs = 0;
      };
    },
    async () => {
      network.isSilent = true;
      return () => {
        network.isSilent = false;
        // The lost bytes would leave the two sides out of step.
        network.cut();
      };
    },
    async () => {
      network.cut();
      return () => {};
    },
    async () => {
      store.pause();
      return store.resume;
    },
    async () => {
      await store.kill();
      return store.restartEmpty;
    },
    async () => {
      await ask('CONFIG', 'SET', 'maxmemory', '1');
      return () => ask('CONFIG', 'SET', 'maxmemory', '0');
    },
    async () => {
      await ask('REPLICAOF', '127.0.0.1', '1');
      return () => ask('REPLICAOF', 'NO', 'ONE');
    },
  ];

  const failing = async (): Promise<void> => {
    while (!isClosing) {
      await delay(random.int(CALM_MS));
      if (!hostile.misbehaves || isClosing) continue;
      const endFault = await random.pick(faults)();
      hostile.faults += 1;
      await delay(random.int(LONGEST_FAULT_MS));
      await endFault();
    }
  };
  const forging = async (): Promise<void> => {
    while (!isClosing) {
      await delay(FORGE_MS);
      if (hostile.misbehaves) hostile.forged += Number(await ask('EVAL', FORGE, '0', String(random.int(2 ** 31)))) || 0;
    }
  };
  const running = Promise.all([failing(), forging()]);

  t.after(() => {
    isClosing = true;
    return running;
  });
  return hostile;
}
