import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { testDataPlane } from './cases.ts';

testDataPlane({
  kind: 'nginx',
  asksSockets: true,
  downStatus: 503,
  async prepare({ text, folder, port, secret }) {
    const secretFile = join(folder, 'secret.conf');
    await writeFile(secretFile, `proxy_set_header X-Cambist-Decision-Secret "${secret}";\n`);
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map((name) => `  ${name}_temp_path ${folder}/${name};\n`)
      .join('');
    const config = text
      .replaceAll('listen 8080', `listen 127.0.0.1:${port}`)
      .replace('/etc/nginx/cambist-secret.conf', secretFile)
      .replace('http {\n', `http {\n  access_log off;\n${temporary}`);
    await writeFile(join(folder, 'nginx.conf'), config);
    const main = `daemon off; master_process off; pid ${folder}/pid;`;
    return ['nginx', '-p', folder, '-c', join(folder, 'nginx.conf'), '-e', 'stderr', '-g', main];
  },
});
