"""Drop-in interfaces: what clients of Jobe, Piston and Judge0 say, as jobs of this cluster, for Java.

Each system has a module of pure translation (its requests to `Program`s, outcomes to its answers) and one of
endpoints, which `app` routes like all others. All are off unless `gateway.compat.interfaces` names them.
"""
