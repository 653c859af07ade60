"""What is produced: the ``.pf`` project with its data sources, rules and templates.

A project is a TOML file beside its resources, or a zip of the same. :mod:`project <pfserver.projects.project>` reads it
and checks it, :mod:`folders <pfserver.projects.folders>` finds it and keeps it inside its root, :mod:`rules
<pfserver.projects.rules>` evaluates its rules, :mod:`sources <pfserver.projects.sources>` reads its records and
:mod:`template <pfserver.projects.template>` sets them. All of it blocks and runs in threads or worker processes.
"""
