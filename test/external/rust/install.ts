import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedInstall, runTool } from '../../harness/cached-install.ts';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** 40 seconds of compiling on two cores. @returns the path of the client */
export async function installRustClient(): Promise<string> {
  const sources = ['Cargo.toml', 'Cargo.lock', 'src/main.rs'].map(here);
  const directory = await cachedInstall('rust-client', sources, async (folder) => {
    await cp(here('src'), join(folder, 'src'), { recursive: true });
    await runTool('cargo', ['build', '--quiet', '--locked'], folder);
  });
  return join(directory, 'target/debug/call');
}
