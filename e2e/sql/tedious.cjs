// tedious.cjs HOST DATABASE FILE: runs the batch in FILE as Node's tedious does and prints its rows, a line each, values
// separated by |, binary ones in hexadecimal. HOST is the server's own name; SQL_ADDR says where the lab listens.
// With ENCRYPT=strict it speaks TDS 8.0; with TOKEN set it signs in by an access token, else as SQL_LOGIN.
'use strict'
const fs = require('node:fs')
const { Connection, Request } = require('tedious')

const [host, database, file] = process.argv.slice(2)
const [address, port] = process.env.SQL_ADDR.split(':')
const { SQL_LOGIN, SQL_PASSWORD, TOKEN, ENCRYPT, CA_FILE } = process.env

const connection = new Connection({
  server: address,
  authentication: TOKEN
    ? { type: 'azure-active-directory-access-token', options: { token: TOKEN } }
    : { type: 'default', options: { userName: `${SQL_LOGIN}@${host.replace(/\.database\..*/, '')}`, password: SQL_PASSWORD } },
  options: {
    port: Number(port), database, serverName: host, encrypt: ENCRYPT === 'strict' ? 'strict' : true, connectTimeout: 10000,
    cryptoCredentialsDetails: { ca: fs.readFileSync(CA_FILE) },
  },
})

function fail(error) {
  for (const each of error.errors ?? [error]) console.error(`${each.number ?? each.code ?? ''} ${each.message}`)
  process.exitCode = 1
  connection.close()
}

connection.connect((error) => {
  if (error) return fail(error)
  const request = new Request(fs.readFileSync(file, 'utf8'), (error) => error ? fail(error) : connection.close())
  request.on('row', (columns) => {
    console.log(columns.map(({ value }) => Buffer.isBuffer(value) ? '0x' + value.toString('hex').toUpperCase() : String(value)).join('|'))
  })
  connection.execSqlBatch(request)
})
