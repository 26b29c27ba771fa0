import { test } from 'node:test';
import type { Launch } from '../harness/cambist-process.ts';
import { floodPod } from '../harness/flood.ts';
import { createMemoryCgroup } from '../harness/memory-cgroup.ts';
import { IMAGE_NODE_FLAGS, POD_MEMORY_BYTES } from '../harness/pod-limits.ts';
import { BUILT_PROGRAM } from '../harness/run-command.ts';

const PERCENTAGE = '--max-old-space-size-percentage';

/** The image's flags. Without a cgroup or with an older Node.js, the heap limit is a size instead of a percentage. */
function nodeFlags(isLimited: boolean): string[] {
  const known = IMAGE_NODE_FLAGS.filter((flag) => flag.includes('=') || process.allowedNodeEnvironmentFlags.has(flag));
  return known.map((flag) => {
    const [name, share] = flag.split('=');
    if (name !== PERCENTAGE || (isLimited && process.allowedNodeEnvironmentFlags.has(PERCENTAGE))) return flag;
    return `--max-old-space-size=${((POD_MEMORY_BYTES / 1024 / 1024) * Number(share)) / 100}`;
  });
}

test('stays within the memory limit of the example pod during a flood of callers', async (t) => {
  const cgroup = await createMemoryCgroup(POD_MEMORY_BYTES);
  t.diagnostic(
    cgroup === undefined ? 'as a process, because no cgroup can be created here' : `in a cgroup: ${cgroup.procsFile}`,
  );
  const flags = nodeFlags(cgroup !== undefined);
  const launch: Launch = async (configFile) => {
    const program = [process.execPath, ...flags, BUILT_PROGRAM, 'run', '--config', configFile] as const;
    if (cgroup === undefined) return program;
    return ['/bin/sh', '-c', 'echo $$ > "$0" && exec "$@"', cgroup.procsFile, ...program];
  };
  try {
    await floodPod(t, launch);
  } finally {
    await cgroup?.remove();
  }
});
