import { readdir, readFile } from 'node:fs/promises';

export async function openFiles(pid: number): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`)).length;
}

/** `RssAnon` is the part that the kernel cannot reclaim. The OOM killer counts it. */
export async function memoryBytes(pid: number, figure: 'VmRSS' | 'RssAnon' = 'VmRSS'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${figure}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024;
}
