# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_tidegate_global_optspecs
    string join \n c/config= l/listen= s/shards= driver= admin= check= print= h/help V/version
end

function __fish_tidegate_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_tidegate_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_tidegate_using_subcommand
    set -l cmd (__fish_tidegate_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c tidegate -n "__fish_tidegate_needs_command" -s c -l config -d 'Read the configuration from a TOML file; without, the defaults' -r -F
complete -c tidegate -n "__fish_tidegate_needs_command" -s l -l listen -d 'Listen on this address in place of the configured ones; may be repeated' -r
complete -c tidegate -n "__fish_tidegate_needs_command" -s s -l shards -d 'Run so many shards in place of the configured number: 1 to 1024, or `auto` for one a core' -r
complete -c tidegate -n "__fish_tidegate_needs_command" -l driver -d 'Ask the kernel by this in place of what is configured: `io_uring`, `epoll`, or `auto` for the first of them that is to be had' -r
complete -c tidegate -n "__fish_tidegate_needs_command" -l admin -d 'Be steered and watched at this address in place of the configured one, or not, by `off`; of commands that ask a gateway, where they ask it' -r
complete -c tidegate -n "__fish_tidegate_needs_command" -l check -d 'Check the configuration and the files that it names, print what is understood and what memory it may take, and exit; with `=machine`, also whether a start would succeed here and now: rings, open files, addresses, threads' -r -f -a "configuration\t'The file, those that it names, and the memory bill'
machine\t'All that a start does, but serving'"
complete -c tidegate -n "__fish_tidegate_needs_command" -l print -d 'Print the man page, or what completes this command line in a shell, and exit' -r -f -a "man\t'The man page, for man(1)'
bash\t'Completions for bash'
zsh\t'Completions for zsh'
fish\t'Completions for fish'"
complete -c tidegate -n "__fish_tidegate_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_needs_command" -s V -l version -d 'Print version'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "serve" -d 'Serve, as without a command'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "check" -d 'Check the configuration and the files that it names, and print what is understood of it and what memory it may take; the same as --check'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "drain" -d 'Drain the gateway that runs, or close some of its connections, at a pace'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "top" -d 'Show what the gateway does: connections, messages and bytes per second, by shard'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "connections" -d 'List connections'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "disconnect" -d 'Close a connection'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "publish" -d 'Publish a text on a topic'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "reload" -d 'Have the gateway read its configuration anew and take it over, with the files that it names'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "revoke" -d 'Take tokens back: those of a user, one by its id, or all that were issued before a moment'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "version" -d 'Print the version'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "doctor" -d 'Look whether this machine lets a gateway have so many connections, and say what to change'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand serve" -s c -l config -d 'Read the configuration from a TOML file; without, the defaults' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand serve" -s l -l listen -d 'Listen on this address in place of the configured ones; may be repeated' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand serve" -s s -l shards -d 'Run so many shards in place of the configured number: 1 to 1024, or `auto` for one a core' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand serve" -l driver -d 'Ask the kernel by this in place of what is configured: `io_uring`, `epoll`, or `auto` for the first of them that is to be had' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand serve" -l admin -d 'Be steered and watched at this address in place of the configured one, or not, by `off`; of commands that ask a gateway, where they ask it' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand serve" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand check" -s c -l config -d 'Read the configuration from a TOML file; without, the defaults' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand check" -s l -l listen -d 'Listen on this address in place of the configured ones; may be repeated' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand check" -s s -l shards -d 'Run so many shards in place of the configured number: 1 to 1024, or `auto` for one a core' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand check" -l driver -d 'Ask the kernel by this in place of what is configured: `io_uring`, `epoll`, or `auto` for the first of them that is to be had' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand check" -l admin -d 'Be steered and watched at this address in place of the configured one, or not, by `off`; of commands that ask a gateway, where they ask it' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand check" -l machine -d 'Look as well whether a start would succeed here and now; the same as --check=machine'
complete -c tidegate -n "__fish_tidegate_using_subcommand check" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l token-file -d 'Read the token of the admin address from this file. Without, it is in the variable TIDEGATE_TOKEN, or the first of `admin.tokens` of the file that --config names' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l route -d 'Only connections of the route with this path, as it is configured' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l subprotocol -d 'Which of the routes with that path' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l listener -d 'Only those of the listener at this address' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l address -d 'Only those from this IP address or network, such as 10.0.0.0/8' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l rate -d 'Connections that are closed in a second, of all shards together' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l delay -d 'How long all goes on before the first is closed, such as 10s' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l deadline -d 'How long it may take behind that, such as 5m; who is left then is cut off' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l code -d 'The close code that they are told' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l reason -d 'What they are told in words, up to 116 bytes' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -s c -l config -d 'Read the configuration from a TOML file; without, the defaults' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -s l -l listen -d 'Listen on this address in place of the configured ones; may be repeated' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -s s -l shards -d 'Run so many shards in place of the configured number: 1 to 1024, or `auto` for one a core' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l driver -d 'Ask the kernel by this in place of what is configured: `io_uring`, `epoll`, or `auto` for the first of them that is to be had' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l admin -d 'Be steered and watched at this address in place of the configured one, or not, by `off`; of commands that ask a gateway, where they ask it' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l json -d 'Print the gateway\'s answer as it is, in JSON'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l exit -d 'End the gateway when it is done; without, it stays, and refuses who comes until the drain is taken back'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -s w -l watch -d 'Wait until it is done, and say each second how far it is; exit code 3 if connections were cut off'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l status -d 'Begin none, and say how the last one is'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -l cancel -d 'Take the drain back that is under way'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -l token-file -d 'Read the token of the admin address from this file. Without, it is in the variable TIDEGATE_TOKEN, or the first of `admin.tokens` of the file that --config names' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -s n -l count -d 'Look so many times, and exit; without, until `q` or ^C' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -s c -l config -d 'Read the configuration from a TOML file; without, the defaults' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -s l -l listen -d 'Listen on this address in place of the configured ones; may be repeated' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -s s -l shards -d 'Run so many shards in place of the configured number: 1 to 1024, or `auto` for one a core' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -l driver -d 'Ask the kernel by this in place of what is configured: `io_uring`, `epoll`, or `auto` for the first of them that is to be had' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -l admin -d 'Be steered and watched at this address in place of the configured one, or not, by `off`; of commands that ask a gateway, where they ask it' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -l json -d 'Print the gateway\'s answer as it is, in JSON'
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand connections" -l token-file -d 'Read the token of the admin address from this file. Without, it is in the variable TIDEGATE_TOKEN, or the first of `admin.tokens` of the file that --config names' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand connections" -l user -d 'Only this user\'s' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand connections" -l topic -d 'Only subscribers of this topic' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand connections" -l route -d 'Only those of the route with this path, as it is configured' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand connections" -l subprotocol -d 'Which of the routes with that path' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand connections" -l address -d 'Only those from this IP address or network, or `unix`' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand connections" -s n -l limit -d 'So many at most' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand connections" -s c -l config -d 'Read the configuration from a TOML file; without, the defaults' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand connections" -s l -l listen -d 'Listen on this address in place of the configured ones; may be repeated' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand connections" -s s -l shards -d 'Run so many shards in place of the configured number: 1 to 1024, or `auto` for one a core' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand connections" -l driver -d 'Ask the kernel by this in place of what is configured: `io_uring`, `epoll`, or `auto` for the first of them that is to be had' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand connections" -l admin -d 'Be steered and watched at this address in place of the configured one, or not, by `off`; of commands that ask a gateway, where they ask it' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand connections" -l json -d 'Print the gateway\'s answer as it is, in JSON'
complete -c tidegate -n "__fish_tidegate_using_subcommand connections" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand disconnect" -l token-file -d 'Read the token of the admin address from this file. Without, it is in the variable TIDEGATE_TOKEN, or the first of `admin.tokens` of the file that --config names' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand disconnect" -l code -d 'The close code (RFC 6455 section 7.4); 1000 without' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand disconnect" -l reason -d 'The reason, up to 123 bytes' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand disconnect" -s c -l config -d 'Read the configuration from a TOML file; without, the defaults' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand disconnect" -s l -l listen -d 'Listen on this address in place of the configured ones; may be repeated' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand disconnect" -s s -l shards -d 'Run so many shards in place of the configured number: 1 to 1024, or `auto` for one a core' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand disconnect" -l driver -d 'Ask the kernel by this in place of what is configured: `io_uring`, `epoll`, or `auto` for the first of them that is to be had' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand disconnect" -l admin -d 'Be steered and watched at this address in place of the configured one, or not, by `off`; of commands that ask a gateway, where they ask it' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand disconnect" -l json -d 'Print the gateway\'s answer as it is, in JSON'
complete -c tidegate -n "__fish_tidegate_using_subcommand disconnect" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand publish" -l token-file -d 'Read the token of the admin address from this file. Without, it is in the variable TIDEGATE_TOKEN, or the first of `admin.tokens` of the file that --config names' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand publish" -l key -d 'The key of which a slow peer keeps the newest message only, where its route conflates' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand publish" -l idempotency-key -d 'Publish a message with the same idempotency key once, however often it is tried' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand publish" -s c -l config -d 'Read the configuration from a TOML file; without, the defaults' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand publish" -s l -l listen -d 'Listen on this address in place of the configured ones; may be repeated' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand publish" -s s -l shards -d 'Run so many shards in place of the configured number: 1 to 1024, or `auto` for one a core' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand publish" -l driver -d 'Ask the kernel by this in place of what is configured: `io_uring`, `epoll`, or `auto` for the first of them that is to be had' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand publish" -l admin -d 'Be steered and watched at this address in place of the configured one, or not, by `off`; of commands that ask a gateway, where they ask it' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand publish" -l json -d 'Print the gateway\'s answer as it is, in JSON'
complete -c tidegate -n "__fish_tidegate_using_subcommand publish" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand reload" -l token-file -d 'Read the token of the admin address from this file. Without, it is in the variable TIDEGATE_TOKEN, or the first of `admin.tokens` of the file that --config names' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand reload" -s c -l config -d 'Read the configuration from a TOML file; without, the defaults' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand reload" -s l -l listen -d 'Listen on this address in place of the configured ones; may be repeated' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand reload" -s s -l shards -d 'Run so many shards in place of the configured number: 1 to 1024, or `auto` for one a core' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand reload" -l driver -d 'Ask the kernel by this in place of what is configured: `io_uring`, `epoll`, or `auto` for the first of them that is to be had' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand reload" -l admin -d 'Be steered and watched at this address in place of the configured one, or not, by `off`; of commands that ask a gateway, where they ask it' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand reload" -l json -d 'Print the gateway\'s answer as it is, in JSON'
complete -c tidegate -n "__fish_tidegate_using_subcommand reload" -l dry-run -d 'Change nothing, and say what would change'
complete -c tidegate -n "__fish_tidegate_using_subcommand reload" -l close-gone -d 'Close connections whose route is there no longer, with 1012 over WebSocket, as many in a second as a drain does; without, they stay until they end'
complete -c tidegate -n "__fish_tidegate_using_subcommand reload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand revoke" -l token-file -d 'Read the token of the admin address from this file. Without, it is in the variable TIDEGATE_TOKEN, or the first of `admin.tokens` of the file that --config names' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand revoke" -l user -d 'Those of this user; without --issued-before also those that are issued from now on' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand revoke" -l jti -d 'The one with this id, of an issuer' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand revoke" -l issuer -d 'Only those of this issuer, by the name of its `[[jwt]]`' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand revoke" -l issued-before -d 'Only those that were issued before this moment: RFC 3339, or `now`' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand revoke" -l for -d 'For how long, such as `8h`: as long as tokens live; 24h without' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand revoke" -l end -d 'End the one with this number: its tokens are good again' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand revoke" -s c -l config -d 'Read the configuration from a TOML file; without, the defaults' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand revoke" -s l -l listen -d 'Listen on this address in place of the configured ones; may be repeated' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand revoke" -s s -l shards -d 'Run so many shards in place of the configured number: 1 to 1024, or `auto` for one a core' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand revoke" -l driver -d 'Ask the kernel by this in place of what is configured: `io_uring`, `epoll`, or `auto` for the first of them that is to be had' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand revoke" -l admin -d 'Be steered and watched at this address in place of the configured one, or not, by `off`; of commands that ask a gateway, where they ask it' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand revoke" -l json -d 'Print the gateway\'s answer as it is, in JSON'
complete -c tidegate -n "__fish_tidegate_using_subcommand revoke" -l list -d 'List what is in force'
complete -c tidegate -n "__fish_tidegate_using_subcommand revoke" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand version" -s c -l config -d 'Read the configuration from a TOML file; without, the defaults' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand version" -s l -l listen -d 'Listen on this address in place of the configured ones; may be repeated' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand version" -s s -l shards -d 'Run so many shards in place of the configured number: 1 to 1024, or `auto` for one a core' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand version" -l driver -d 'Ask the kernel by this in place of what is configured: `io_uring`, `epoll`, or `auto` for the first of them that is to be had' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand version" -l admin -d 'Be steered and watched at this address in place of the configured one, or not, by `off`; of commands that ask a gateway, where they ask it' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand version" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -s n -l connections -d 'Connections of all shards together, in place of what `limits.connections` says' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -s c -l config -d 'Read the configuration from a TOML file; without, the defaults' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -s l -l listen -d 'Listen on this address in place of the configured ones; may be repeated' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -s s -l shards -d 'Run so many shards in place of the configured number: 1 to 1024, or `auto` for one a core' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -l driver -d 'Ask the kernel by this in place of what is configured: `io_uring`, `epoll`, or `auto` for the first of them that is to be had' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -l admin -d 'Be steered and watched at this address in place of the configured one, or not, by `off`; of commands that ask a gateway, where they ask it' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from serve check drain top connections disconnect publish reload revoke version doctor help" -f -a "serve" -d 'Serve, as without a command'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from serve check drain top connections disconnect publish reload revoke version doctor help" -f -a "check" -d 'Check the configuration and the files that it names, and print what is understood of it and what memory it may take; the same as --check'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from serve check drain top connections disconnect publish reload revoke version doctor help" -f -a "drain" -d 'Drain the gateway that runs, or close some of its connections, at a pace'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from serve check drain top connections disconnect publish reload revoke version doctor help" -f -a "top" -d 'Show what the gateway does: connections, messages and bytes per second, by shard'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from serve check drain top connections disconnect publish reload revoke version doctor help" -f -a "connections" -d 'List connections'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from serve check drain top connections disconnect publish reload revoke version doctor help" -f -a "disconnect" -d 'Close a connection'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from serve check drain top connections disconnect publish reload revoke version doctor help" -f -a "publish" -d 'Publish a text on a topic'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from serve check drain top connections disconnect publish reload revoke version doctor help" -f -a "reload" -d 'Have the gateway read its configuration anew and take it over, with the files that it names'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from serve check drain top connections disconnect publish reload revoke version doctor help" -f -a "revoke" -d 'Take tokens back: those of a user, one by its id, or all that were issued before a moment'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from serve check drain top connections disconnect publish reload revoke version doctor help" -f -a "version" -d 'Print the version'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from serve check drain top connections disconnect publish reload revoke version doctor help" -f -a "doctor" -d 'Look whether this machine lets a gateway have so many connections, and say what to change'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from serve check drain top connections disconnect publish reload revoke version doctor help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
