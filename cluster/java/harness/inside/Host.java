package javacluster.internal;

import java.io.FileDescriptor;
import java.lang.invoke.MethodHandles.Lookup;
import java.lang.reflect.Field;
import jdk.internal.access.SharedSecrets;

/** What the launcher needs of the JDK and is not offered, for one that stands inside {@code java.base}. */
final class Host {
    private Host() {}

    /** The descriptor of a file that is open already. */
    static FileDescriptor descriptor(int number) {
        FileDescriptor descriptor = new FileDescriptor();
        SharedSecrets.getJavaIOFileDescriptorAccess().set(descriptor, number);
        return descriptor;
    }

    /** All that the type itself may do; {@code privateLookupIn} gives less to who is in another module. */
    static Lookup lookup(Class<?> type) throws ReflectiveOperationException {
        Field all = Lookup.class.getDeclaredField("IMPL_LOOKUP");
        all.setAccessible(true);
        return ((Lookup) all.get(null)).in(type);
    }
}
