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
complete -c tidegate -n "__fish_tidegate_needs_command" -l admin -d 'Be steered and watched at this address in place of the configured one, or not, by `off`' -r
complete -c tidegate -n "__fish_tidegate_needs_command" -l check -d 'Check the configuration and the files that it names, print what is understood and what memory it may take, and exit; with `=machine`, also whether a start would succeed here and now: rings, open files, addresses, threads' -r -f -a "configuration\t'The file, those that it names, and the memory bill'
machine\t'All that a start does, but serving'"
complete -c tidegate -n "__fish_tidegate_needs_command" -l print -d 'Print the man page, or what completes this command line in a shell, and exit' -r -f -a "man\t'The man page, for man(1)'
bash\t'Completions for bash'
zsh\t'Completions for zsh'
fish\t'Completions for fish'"
complete -c tidegate -n "__fish_tidegate_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_needs_command" -s V -l version -d 'Print version'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "doctor" -d 'Look whether this machine lets a gateway have so many connections, and say what to change'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -s n -l connections -d 'Connections of all shards together, in place of what `limits.connections` says' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -s c -l config -d 'Read the configuration from a TOML file; without, the defaults' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -s l -l listen -d 'Listen on this address in place of the configured ones; may be repeated' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -s s -l shards -d 'Run so many shards in place of the configured number: 1 to 1024, or `auto` for one a core' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -l driver -d 'Ask the kernel by this in place of what is configured: `io_uring`, `epoll`, or `auto` for the first of them that is to be had' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -l admin -d 'Be steered and watched at this address in place of the configured one, or not, by `off`' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from doctor help" -f -a "doctor" -d 'Look whether this machine lets a gateway have so many connections, and say what to change'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from doctor help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
