import { readFileSync } from 'node:fs';
import { run } from './node.ts';
import { statusOf } from './pods.ts';

/** Memory and CPU of a container, from its cgroup. */

const CLOCK_TICK_MS = 10;

/** @returns the paths of files in the cgroups of a container */
export async function cgroupOf(namespace: string, pod: string, container: string) {
  const { containerID } = await statusOf(namespace, pod, container);
  const id = containerID.replace('containerd://', '');
  const folders = (await run(`find /sys/fs/cgroup -type d -name ${id}`)).trim().split('\n');
  const file = (name: string): string => {
    for (const folder of folders) {
      try {
        return readFileSync(`${folder}/${name}`, 'utf8');
      } catch {
        // In another hierarchy.
      }
    }
    throw new Error(`container ${container} of ${pod} has no ${name}`);
  };
  return {
    /** As the kubelet counts it: what the kernel cannot reclaim at once. */
    workingSetMiB(): number {
      const [, inactive] = /^total_inactive_file (\d+)$/m.exec(file('memory.stat')) ?? [];
      return (Number(file('memory.usage_in_bytes')) - Number(inactive)) / 2 ** 20;
    },
    cpuMs: (): number => Number(file('cpuacct.usage')) / 1e6,
    /** When the container's first process started, since the machine did. */
    startedMs(): number {
      const [pid = ''] = file('cgroup.procs').split('\n');
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ');
      return Number(fields[19]) * CLOCK_TICK_MS;
    },
  };
}

/** Takes the working set 20 times a second while something runs. @returns the highest one, in MiB */
export async function peakOf(container: { workingSetMiB(): number }, work: () => Promise<unknown>): Promise<number> {
  let peak = container.workingSetMiB();
  const timer = setInterval(() => {
    try {
      peak = Math.max(peak, container.workingSetMiB());
    } catch {
      // The container was killed.
    }
  }, 50);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return peak;
}
